"""When a peer that does not answer over IKE is given up. Pure.

charon would do that by itself, but strongSwan from 6.0.1 on looks at IKE alone (get_use_time in
ike_sa.c: ESP counts only where it is encapsulated, and so takes the same path). A pair whose IKE is
blocked, or whose other charon is away, carries on well: its keys are there, and ESP that comes in
and is authentic proves that the peer is. So charon is told to be patient for an hour
(deploy/strongswan.conf), and the agent gives up what is dead, after as long as charon would have.

A peer that lost its power is back before that, with a new IKE_SA beside the old one, whose other
end is gone. If it ends again, in good order, charon leads what is sent to it back into the old one
(del_policy in kernel_netlink_ipsec.c), and the pair looks up: this node would not begin it. So one
that has been replaced is given up much sooner.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from geneveil.agent.orphans import Key, Sighting
from geneveil.mesh.actions import TerminateIkeSa
from geneveil.mesh.doubles import SETTLED_SECONDS
from geneveil.model.connection import Connection, IkeSa, sas_by_connection
from geneveil.model.xfrm import XfrmState

PATIENCE_SECONDS = 72.0
"""How long an exchange may stay without an answer while nothing comes in by ESP either. So long,
because SAs that stand carry on at once when a wire is mended or a node that stood still goes on."""

REPLACED_SECONDS = 10.0
"""The same beside another IKE_SA that carries all of it and answers. Each asks after DPD_SECONDS of
silence: on a path that is cut, or to a charon that stands still, the other waits by then too."""


@dataclass(frozen=True)
class Waiting:
    """The exchange that an IKE_SA waits for, and since when."""

    task: str
    since_seconds: float


@dataclass(frozen=True)
class DeadWatch:
    """What to remember from turn to turn.

    Attributes:
        waiting: charon's unique id of an IKE_SA to what it waits for.
        heard: connection name to the packets that came in by ESP, and since when no more.
    """

    waiting: Mapping[int, Waiting] = field(default_factory=dict)
    heard: Mapping[str, Sighting] = field(default_factory=dict)


def judge_dead(
    connections: tuple[Connection, ...],
    sas: tuple[IkeSa, ...],
    states: tuple[XfrmState, ...] | None,
    in_use: frozenset[Key] | None,
    before: DeadWatch,
    now_seconds: float,
) -> tuple[DeadWatch, list[TerminateIkeSa]]:
    """Decide which IKE_SAs nobody answers on any more.

    Args:
        states: the kernel's; None if they could not be read: then nobody is given up who may still
            be sending.
        in_use: see `geneveil.agent.in_use`; None if not known: then what has been replaced is given
            up after as long as everything else.
    """
    waiting = _waiting(sas, before, now_seconds)
    heard = (
        dict(before.heard) if states is None else _heard(connections, states, before, now_seconds)
    )
    given_up: list[TerminateIkeSa] = []
    by_connection = sas_by_connection(sas)
    for connection in connections:
        own = by_connection.get(connection.name, ())
        kept = [sa for sa in own if sa.unique_id not in waiting and sa.is_established]
        sighting = heard.get(connection.name)
        is_still = (
            states is not None
            and sighting is not None
            and now_seconds - sighting.still_since_seconds >= PATIENCE_SECONDS
        )
        for sa in own:
            if sa.unique_id not in waiting:
                continue
            waited = now_seconds - waiting[sa.unique_id].since_seconds
            is_covered = _is_covered(sa, kept)
            is_dead = is_still or not sa.is_established or is_covered
            is_replaced = is_covered and _is_idle(connection, sa, in_use)
            patience = REPLACED_SECONDS if is_replaced else PATIENCE_SECONDS
            if is_dead and waited >= patience:
                why = f"its peer has not answered for {patience:.0f} s"
                given_up.append(TerminateIkeSa(sa.unique_id, sa.connection, why, at_once=True))
    return DeadWatch(waiting, heard), given_up


def _waiting(sas: tuple[IkeSa, ...], before: DeadWatch, now_seconds: float) -> dict[int, Waiting]:
    waiting = {}
    for sa in sas:
        if sa.tasks:
            seen = before.waiting.get(sa.unique_id)
            if seen is None or seen.task != sa.tasks[0]:  # what is queued later comes after it
                seen = Waiting(sa.tasks[0], now_seconds)
            waiting[sa.unique_id] = seen
    return waiting


def _heard(
    connections: tuple[Connection, ...],
    states: tuple[XfrmState, ...],
    before: DeadWatch,
    now_seconds: float,
) -> dict[str, Sighting]:
    packets: dict[tuple[str, str], int] = {}
    for state in states:
        ends = (state.source, state.destination)
        packets[ends] = packets.get(ends, 0) + state.packets
    heard = {}
    for connection in connections:
        count = packets.get((connection.remote_ip, connection.local_ip), 0)
        seen = before.heard.get(connection.name)
        # Fewer than before: an SA went. That proves nothing.
        if seen is None or count > seen.packets:
            heard[connection.name] = Sighting(count, now_seconds)
        else:
            heard[connection.name] = Sighting(count, seen.still_since_seconds)
    return heard


def _is_covered(sa: IkeSa, kept: list[IkeSa]) -> bool:
    """Whether all that it carries is carried by one that answers too: its other end is gone."""
    settled = {
        child.name
        for other in kept
        for child in other.children
        if child.is_installed and child.installed_seconds >= SETTLED_SECONDS
    }
    return bool(kept) and all(child.name in settled for child in sa.children if child.is_installed)


def _is_idle(connection: Connection, sa: IkeSa, in_use: frozenset[Key] | None) -> bool:
    """Whether it is whole, not one that is being made, and is known to bring nothing in."""
    if in_use is None or not sa.is_established:
        return False
    inbound = {(connection.local_ip, child.spi_in) for child in sa.children if child.is_installed}
    return bool(inbound) and not inbound & in_use
