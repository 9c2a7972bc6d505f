"""What guests say arrived is put down to the very end that got it, not to its node."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from geneveil.verify.evidence import Probe
from geneveil.verify.flows import Direction, FlowKind, Phase, Protocol, Size
from lab.probes import Exchange, fill_in, plan_exchanges, who_received
from lab.topology import plan_topology

TOPOLOGY = plan_topology(2)
EXCHANGES = plan_exchanges(TOPOLOGY, Phase.ENABLED, 1404, bytes(16))
SENT_AT = datetime(2026, 1, 1, tzinfo=UTC)


def exchange_of(kind: FlowKind, protocol: Protocol) -> Exchange:
    return next(
        e
        for e in EXCHANGES
        if (e.request.kind, e.request.protocol, e.request.size) == (kind, protocol, Size.SMALL)
    )


def kind_of(probe: Probe) -> str:
    is_icmp = probe.protocol is Protocol.ICMP
    return f"icmp-{probe.direction.value}" if is_icmp else probe.protocol.value


def received(probe: Probe, *namespaces: tuple[str, str]) -> Probe:
    """The probe, after its mark arrived in these namespaces (node, namespace)."""
    answers = [
        [[space, kind_of(probe), probe.mark.hex()] for name, space in namespaces if name == n.name]
        for n in TOPOLOGY.nodes
    ]
    return fill_in(probe, who_received(TOPOLOGY.nodes, answers), SENT_AT)


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("direction", list(Direction))
def test_delivered_is_what_arrived_at_its_own_end(protocol: Protocol, direction: Direction) -> None:
    exchange = exchange_of(FlowKind.POD_TO_POD, protocol)
    is_request = direction is Direction.REQUEST
    probe = exchange.request if is_request else exchange.reply
    pods = TOPOLOGY.node(probe.destination.node).pods
    right, wrong = ((probe.destination.node, pod.namespace) for pod in pods[:2])
    host = (probe.destination.node, "")
    assert received(probe, right).delivered
    assert received(probe, right).received_elsewhere == ()
    assert not received(probe, wrong).delivered
    assert received(probe, wrong).received_elsewhere == (pods[1].name,)
    assert not received(probe, host).delivered
    assert received(probe, right, host).received_elsewhere == (f"{probe.destination.node}-host",)
    assert received(probe).received_by == ()
    assert received(probe, right).sent_at == SENT_AT


def test_a_host_network_pod_gets_what_arrives_in_its_nodes_own_namespace() -> None:
    probe = exchange_of(FlowKind.POD_TO_HOST, Protocol.UDP).request
    pod = TOPOLOGY.node(probe.destination.node).pods[0]
    assert received(probe, (probe.destination.node, "")).delivered
    assert not received(probe, (probe.destination.node, pod.namespace)).delivered


def test_an_echo_request_that_arrived_is_not_taken_for_its_reply() -> None:
    exchange = exchange_of(FlowKind.POD_TO_POD, Protocol.ICMP)
    mark = exchange.request.mark.hex()
    pods = [TOPOLOGY.node(end).pods[0].namespace for end in ("node1", "node2")]
    answers = [[], [[pods[1], "icmp-request", mark]]]
    found = who_received(TOPOLOGY.nodes, answers)
    assert fill_in(exchange.request, found, SENT_AT).delivered
    assert fill_in(replace(exchange.reply), found, SENT_AT).received_by == ()
