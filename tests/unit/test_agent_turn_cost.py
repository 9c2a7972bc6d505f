"""What a turn costs grows with the number of peers, not with its square.

Counted in steps of the interpreter, so that the machine's own speed does not matter.
"""

import sys
from dataclasses import replace
from ipaddress import ip_address
from types import FrameType
from typing import Any

import pytest

from geneveil.agent.decide import AgentMemory, decide
from geneveil.agent.observe import Observation
from geneveil.model.connection import Connection, IkeSa
from geneveil.model.node_status import PeerState
from geneveil.model.tunnel import OvsSnapshot, Tunnel
from geneveil.model.xfrm import XfrmDirection, XfrmPolicy, XfrmSelector, XfrmState
from tests.unit.test_agent_decide import EMPTY_IKE, IN_POLICY, SEEN, TEMPLATE, child, state

LOCAL = "10.0.0.1"


def _connections(peers: int) -> list[Connection]:
    addresses = [str(ip_address(LOCAL) + 1 + number) for number in range(peers)]
    return [Connection("node1", f"n{n}", LOCAL, ip) for n, ip in enumerate(addresses)]


def _sa(connection: Connection, number: int) -> IkeSa:
    first = number * 16
    children = (child("in", first + 1, first + 2), child("out", first + 3, first + 4))
    return IkeSa(
        connection.name, number, "ESTABLISHED", True, LOCAL, connection.remote_ip,
        connection.remote_chassis, 40, 9000, children,
    )  # fmt: skip


def _states(connection: Connection, sa: IkeSa) -> list[XfrmState]:
    reqids = {str(name): connection.reqid(name) for name in connection.children}
    found = []
    for one in sa.children:
        inbound = replace(state(LOCAL, one.spi_in), source=connection.remote_ip)
        outbound = replace(state(connection.remote_ip, one.spi_out), source=LOCAL)
        found += [replace(each, reqid=reqids[one.name], packets=5) for each in (inbound, outbound)]
    return found


def _policies(connection: Connection) -> list[XfrmPolicy]:
    there = XfrmSelector(LOCAL, 32, connection.remote_ip, 32, 17, 0, 0, 6081, 0xFFFF)
    back = XfrmSelector(connection.remote_ip, 32, LOCAL, 32, 17, 0, 0, 6081, 0xFFFF)
    template = (replace(TEMPLATE, spi=7),)
    out = XfrmPolicy(there, XfrmDirection.OUT, 366911, 9, True, template)
    return [out, replace(IN_POLICY, selector=back)]


def _seen(peers: int, sas_a_pair: int) -> Observation:
    connections = _connections(peers)
    tunnels = [
        Tunnel(f"o-{c.remote_ip}", c.remote_ip, LOCAL, c.remote_chassis) for c in connections
    ]
    sas = [
        (c, _sa(c, 1 + n * sas_a_pair + k))
        for n, c in enumerate(connections)
        for k in range(sas_a_pair)
    ]
    return replace(
        SEEN,
        ovs=OvsSnapshot("node1", (LOCAL,), tuple(tunnels)),
        ike=replace(EMPTY_IKE, sas=tuple(sa for _, sa in sas)),
        states=tuple(s for c, sa in sas for s in _states(c, sa)),
        policies=tuple(p for c in connections for p in _policies(c)) if sas_a_pair else (),
    )


def _steps(peers: int, sas_a_pair: int) -> tuple[int, set[PeerState]]:
    """Of a turn in the middle of a life."""
    seen = _seen(peers, sas_a_pair)
    memory = decide(seen, AgentMemory(), ()).memory
    later = replace(_seen(peers, sas_a_pair), now_seconds=seen.now_seconds + 9)
    count = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        decision = decide(later, memory, ())
    finally:
        sys.settrace(before)
    return count, {peer.state for peer in decision.peers}


STATES = {0: PeerState.DOWN, 1: PeerState.UP, 2: PeerState.UP}


@pytest.mark.parametrize("sas_a_pair", STATES)
def test_four_times_the_peers_cost_four_times_as_much(sas_a_pair: int) -> None:
    few, states = _steps(20, sas_a_pair)
    assert states == {STATES[sas_a_pair]}
    base, _ = _steps(0, sas_a_pair)
    many, _ = _steps(80, sas_a_pair)
    assert many - base < 4.5 * (few - base)
