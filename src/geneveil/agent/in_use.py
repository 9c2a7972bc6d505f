"""Which SAs of the kernel a pair's Geneve travels through just now. Pure.

Of two IKE_SAs that carry the same children the ages do not tell: nodes that made them crosswise
installed them in opposite orders, and each sends through the one that it installed last. The kernel
tells: an outgoing policy names the SPI that it leads to (charon writes it there), and an SA that
the peer sends through counts packets.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from geneveil.agent.orphans import Key, Sighting
from geneveil.agent.policies import policies_by_ends, policies_for
from geneveil.model.connection import Connection, Direction, IkeSa
from geneveil.model.xfrm import XfrmPolicy, XfrmState

STILL_SECONDS = 5.0
"""What has counted no packet for this long is not used. A peer that sends one packet in a longer
time may be misjudged; then that one can be lost, if it is sent in the very milliseconds."""


@dataclass(frozen=True)
class InUse:
    """What was found.

    Attributes:
        sas: destination and SPI of each SA that is used, of pairs with several IKE_SAs; None: not
            known.
        sightings: what to remember until the next turn.
    """

    sas: frozenset[Key] | None = None
    sightings: Mapping[Key, Sighting] = field(default_factory=dict)


def judge_in_use(
    connections: tuple[Connection, ...],
    sas: tuple[IkeSa, ...],
    states: tuple[XfrmState, ...] | None,
    policies: tuple[XfrmPolicy, ...] | None,
    before: Mapping[Key, Sighting],
    now_seconds: float,
) -> InUse:
    """Decide which SAs this node sends through, and which its peers do.

    Args:
        sas: charon's; nothing is asked about a pair with one IKE_SA.
        states, policies: None for what could not be read.
    Fails closed: yes; unless both could be read nothing is known. An SA that is seen for the first
        time is used until it has been still for long enough.
    """
    if states is None or policies is None:
        return InUse(None, before)
    counts = Counter(sa.connection for sa in sas)
    connections = tuple(c for c in connections if counts[c.name] > 1)
    used: set[Key] = set()
    between = policies_by_ends(policies if connections else ())
    for connection in connections:
        for child in connection.children:
            if child.direction is Direction.OUT:
                ends = (connection.local_ip, connection.remote_ip)
                found = policies_for(connection, between.get(ends, ()), child)
                used |= {(connection.remote_ip, t.spi) for p in found for t in p.templates}
    sightings: dict[Key, Sighting] = {}
    ours = {(c.remote_ip, c.local_ip) for c in connections}
    for state in states:
        if (state.source, state.destination) not in ours:
            continue
        key = (state.destination, state.spi)
        seen = before.get(key)
        if seen is None or seen.packets != state.packets:
            seen = Sighting(state.packets, now_seconds)
        sightings[key] = seen
        if state.packets and now_seconds - seen.still_since_seconds < STILL_SECONDS:
            used.add(key)
    return InUse(frozenset(used), sightings)
