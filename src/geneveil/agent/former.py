"""Pairs that are planned no more, and whose SAs are still in the kernel. Pure.

A reqid of ours says nothing by itself: it is a hash over the peer's name, both addresses, port and
direction (`Connection.reqid`). Addresses are the state's own; names and ports are those that this
node ever met, or that the operator closed. Whatever does not come out as exactly the reqid that we
would have given is somebody else's, or of a peer that nobody knows any more, and stays.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from geneveil.agent.orphans import ESP
from geneveil.model.connection import FIRST_REQID, LAST_REQID, Connection
from geneveil.model.xfrm import XfrmState


@dataclass(frozen=True)
class Met:
    """Whom this agent planned a connection with since it started, and for which ports."""

    chassis: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset()

    def joined_with(self, planned: Iterable[Connection], ports: Iterable[int]) -> "Met":
        """This, and whom a plan names."""
        chassis = {connection.remote_chassis for connection in planned}
        return Met(self.chassis | chassis, self.ports | {*ports})


def find_former(
    planned: Iterable[Connection],
    states: Iterable[XfrmState] | None,
    local_chassis: str,
    met: Met,
    closed: frozenset[str] = frozenset(),
) -> tuple[Connection, ...]:
    """The connections, of one port each, of states of ours that no planned one accounts for.

    Args:
        planned: those of peers that are closed as well.
        states: None if they could not be read: then nothing is found.
        closed: further names of peers, as the operator writes them.
    """
    accounted = {c.reqid(child) for c in planned for child in c.children}
    left: dict[tuple[str, str], set[int]] = {}
    for state in states or ():
        is_of_range = state.protocol == ESP and FIRST_REQID <= state.reqid <= LAST_REQID
        if is_of_range and state.reqid not in accounted:
            low, high = sorted((state.source, state.destination))
            left.setdefault((low, high), set()).add(state.reqid)
    found = set()
    for ends, reqids in left.items():
        for local_ip, remote_ip in (ends, ends[::-1]):
            for chassis, port in product(met.chassis | closed, met.ports):
                one = Connection(local_chassis, chassis, local_ip, remote_ip, (port,))
                if reqids & {one.reqid(child) for child in one.children}:
                    found.add(one)
    return tuple(sorted(found))
