"""Who of a pair initiates, and when. Pure; the same on both nodes.

Rule: of each pair one node initiates: a coin that both can toss, SHA-256 of the two names, says
which. Both would cross and leave the pair with two sets of SAs, or, with uniqueness enforced, with
none. A coin rather than the lower name, so that each node initiates about half of its pairs: with
the lower name one node of a hundred would do ninety-nine handshakes when the cluster comes up, and
another none.

The other one steps in after a grace, for the pair whose initiator cannot: its packets may be
blocked one way, or it has not yet noticed that this node lost its SAs in a reboot.

Attempts are spread by a back-off whose jitter comes from the names and the number of the attempt:
drawn anew at every look it would never be the same twice, and no test could foresee it.

    initiator:   at once, then 1/4, 1/2, 1, 2, 4, 8, 15, 15 ... seconds after the attempt before
    the other:   after 5 to 7.5 s of a pair that is down, then with the same back-off

A quarter more or less each. The first ones come so soon because both nodes learn of a change at
about the same time, and whoever begins before the other has loaded its connection is refused.

An attempt in charon itself lasts up to 72 s (`geneveil.agent.dead_peers`); none is made while
another is under way.
"""

import hashlib

from geneveil.model.names import name_key

GRACE_SECONDS = 5.0
"""A handshake takes milliseconds; a lost first packet is sent again after 1 s, and again after
1.3 s: by then an initiator that can has done it."""

BACKOFF_FIRST_SECONDS = 0.25
BACKOFF_CAP_SECONDS = 15.0
"""Little more than one attempt of charon's: a peer that is back is found within seconds."""

JITTER = 0.25


def is_initiator(chassis: str, remote_chassis: str) -> bool:
    """Whether this node is the one of the pair that initiates; exactly one of the two is."""
    mine, other = name_key(chassis), name_key(remote_chassis)
    low, high = sorted((mine, other))
    heads = hashlib.sha256(f"geneveil initiator {low} {high}".encode()).digest()[0] & 1
    return (mine == low) == bool(heads)


def first_attempt_seconds(chassis: str, remote_chassis: str) -> float:
    """How long a pair has to be down before this node initiates it."""
    if is_initiator(chassis, remote_chassis):
        return 0.0
    return GRACE_SECONDS * (1 + 2 * JITTER * _fraction(chassis, remote_chassis, 0))


def backoff_seconds(chassis: str, remote_chassis: str, attempts: int) -> float:
    """How long to wait after the latest of so many attempts (at least one)."""
    exponent = min(attempts - 1, 10)  # the cap is reached long before; no huge powers
    plain = min(BACKOFF_FIRST_SECONDS * 2.0**exponent, BACKOFF_CAP_SECONDS)
    return plain * (1 + JITTER * (2 * _fraction(chassis, remote_chassis, attempts) - 1))


def _fraction(chassis: str, remote_chassis: str, attempt: int) -> float:
    seed = f"geneveil jitter {name_key(chassis)} {name_key(remote_chassis)} {attempt}"
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:6]) / 2**48
