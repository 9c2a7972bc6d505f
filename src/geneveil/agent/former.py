"""Pairs that are planned no more, and whose SAs are still in the kernel. Pure.

A reqid of ours says nothing by itself: it is a hash over the peer's name, both addresses, port and
direction (`Connection.reqid`). Addresses are the state's own; names and ports are those that this
node ever met, or that the operator closed. First tried is whom it met at those very addresses: when
all tunnels go at once, each name for each pair of addresses would be the square of the peers, a
quarter of a minute with a thousand. Whatever does not come out as exactly the reqid that we
would have given is somebody else's, or of a peer that nobody knows any more, and stays.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, product

from geneveil.agent.orphans import ESP, Ends
from geneveil.model.connection import FIRST_REQID, LAST_REQID, Connection
from geneveil.model.xfrm import XfrmState


@dataclass(frozen=True)
class Met:
    """Whom this agent planned a connection with, and for which ports, since it started or since
    nothing was left of anybody: nodes come and go for years.

    Attributes:
        at: the local and the remote address to whom it met there last.
    """

    chassis: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset()
    at: Mapping[Ends, str] = field(default_factory=dict)

    def joined_with(self, planned: Iterable[Connection], ports: Iterable[int]) -> "Met":
        """This, and whom a plan names."""
        at = {(c.local_ip, c.remote_ip): c.remote_chassis for c in planned}
        return Met(self.chassis | {*at.values()}, self.ports | {*ports}, {**self.at, **at})


def remember(
    met: Met,
    left: Mapping[Ends, frozenset[int]] | None,
    planned: Iterable[Connection],
    ports: Iterable[int],
) -> Met:
    """Whom to know from now on.

    Args:
        left: None if the kernel's states could not be read: then nobody is forgotten.
    """
    return (met if left or left is None else Met()).joined_with(planned, ports)


def find_left(
    planned: Iterable[Connection], states: Iterable[XfrmState]
) -> Mapping[Ends, frozenset[int]]:
    """The reqids of our range that no planned connection accounts for, by the states' addresses.

    Args:
        planned: those of peers that are closed as well.
    """
    accounted = {c.reqid(child) for c in planned for child in c.children}
    left: dict[Ends, set[int]] = {}
    for state in states:
        is_of_range = state.protocol == ESP and FIRST_REQID <= state.reqid <= LAST_REQID
        if is_of_range and state.reqid not in accounted:
            low, high = sorted((state.source, state.destination))
            left.setdefault((low, high), set()).add(state.reqid)
    return {ends: frozenset(reqids) for ends, reqids in left.items()}


def find_former(
    left: Mapping[Ends, frozenset[int]],
    local_chassis: str,
    met: Met,
    closed: frozenset[str] = frozenset(),
) -> tuple[Connection, ...]:
    """The connections, of one port each, of what `find_left` found.

    Args:
        closed: further names of peers, as the operator writes them.
    """
    found = set()
    for ends, reqids in left.items():
        ways = (ends, ends[::-1])
        likely = ((way, met.at[way]) for way in ways if way in met.at)
        rest = set(reqids)
        for (local_ip, remote_ip), chassis in chain(likely, product(ways, met.chassis | closed)):
            for port in met.ports:
                one = Connection(local_chassis, chassis, local_ip, remote_ip, (port,))
                own = rest & {one.reqid(child) for child in one.children}
                found |= {one} if own else set()
                rest -= own
            if not rest:
                break
    return tuple(sorted(found))
