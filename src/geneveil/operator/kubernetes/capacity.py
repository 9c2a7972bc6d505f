"""How much can be told of revoked nodes, and what is done long before that is all. Pure.

What every node is told is one ConfigMap, of at most 1 MiB, and so is the Secret with the lists. A
revoked certificate stands on its authority's list until it ends (years) or until the authority
leaves the trust. So an authority with many revoked certificates is followed by another: the
roll-over that comes in any case comes earlier, and its end drops the list, the names and the
ledgers. See docs/decisions/0024.

    4,000 revoked   the roll-over is asked for        (a third of what fits)
    150 of one      the same                          (a third of what fits into one ledger)
    300 of one      that chassis gets no more         (so that all others do)
    450,000 bytes   Degraded `ManyRevoked`            (half)
    900,000 bytes   nothing more is published; Degraded `LookFails`; certificates are issued
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from geneveil.operator.kubernetes.switch import Problem
from geneveil.operator.records import NodeRecord, Standing
from geneveil.pki.rollover import Phase

MOST_BYTES = 900_000
"""Of one object; the API server takes 1 MiB with all that is around it."""

MANY_BYTES = MOST_BYTES // 2
REVOKED_BEFORE_ROLL_OVER = 4000
"""Each has 73 bytes on the list, as the object holds it (measured)."""

REVOKED_OF_ONE_BEFORE_ROLL_OVER = 150
"""A machine that is stopped each night, and whose Node a cloud deletes for it, has one a day."""

MOST_OF_ONE = 300
"""Certificates of one chassis, revoked ones too: a ledger holds each in up to 2,700 bytes (measured
with RSA-3072). One that can't be written any more would keep every other from being written."""

MOST_NAMED = 2000
"""Chassis that are named so that what stands with them is closed. Those that were removed before
these are on the list all the same: nobody begins anything with them."""

_BELIEVED_FOR = timedelta(days=2)  # the mark is kept once a day

REMEDY = (
    "an authority's list is dropped at the end of its roll-over: see which nodes that waits for "
    "(status.trust.waitingFor of the ClusterIPsec), and let them come back, or delete or revoke "
    "them; if none is under way: geneveil operator ca rotate --kubernetes"
)


def is_roll_over_due(
    revoked: int,
    revoked_of_one: int,
    phase: Phase,
    is_requested: bool,
    believed_at: datetime | None,
    now: datetime,
) -> bool:
    """Whether so many revoked certificates of the authority that signs are reason for another.

    Args:
        revoked_of_one: of the chassis that has the most.
        believed_at: the latest moment of the clock that was believed: a roll-over that is asked
            for makes the clock believed, which a machine is not to decide.
    """
    are_many = (
        revoked >= REVOKED_BEFORE_ROLL_OVER or revoked_of_one >= REVOKED_OF_ONE_BEFORE_ROLL_OVER
    )
    if not are_many or phase is not Phase.STEADY or is_requested:
        return False
    return believed_at is not None and abs(now - believed_at) < _BELIEVED_FOR


def judge_size(told_bytes: int) -> Problem | None:
    """Say so when half of what can be told is in use.

    Args:
        told_bytes: what every node is told.
    """
    if told_bytes < MANY_BYTES:
        return None
    return Problem(
        "ManyRevoked",
        f"what every node is told has {told_bytes} bytes, of at most {MOST_BYTES}, most of it "
        f"revoked certificates; when it is full no revocation is told any more: {REMEDY}",
    )


def choose_named(
    revoked: tuple[str, ...], read_nodes: Callable[[], Iterable[NodeRecord]]
) -> tuple[str, ...]:
    """The chassis to name, ascending: those that a person revoked, whose nodes may run, then those
    that were removed last.

    Args:
        read_nodes: what was said about chassis; asked only when there are too many.
    """
    if len(revoked) <= MOST_NAMED:
        return revoked
    standings = {one.chassis: one for one in read_nodes()}

    def rank(chassis: str) -> tuple[bool, float, str]:
        said = standings.get(chassis)
        if said is None:
            return False, 0.0, chassis
        return said.standing is not Standing.REVOKED, -said.changed_at.timestamp(), chassis

    return tuple(sorted(sorted(revoked, key=rank)[:MOST_NAMED]))
