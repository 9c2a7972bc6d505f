"""Marked traffic of every kind, between every ordered pair of nodes.

`plan_exchanges` decides what to send (pure); `send_exchanges` has the guests send it and turns
what the receiving ends say into the judge's `Probe` values. Whether a packet was encrypted is not
asked here: that is for the witness and `geneveil verify`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from geneveil.verify.evidence import Endpoint, Probe
from geneveil.verify.flows import (
    Direction,
    FlowKind,
    Pair,
    Phase,
    Protocol,
    Size,
    pairs_of,
)
from geneveil.verify.marks import make_mark
from lab.bringup import Running
from lab.conversation import Conversation
from lab.topology import UNDERLAY_MTU_BYTES, Node, Topology

_SMALL_BYTES = 64
# Headers between the sender's MTU and the mark: IPv4 20 or IPv6 40, and UDP 8 or ICMP 8.
_IPV4_BYTES, _IPV6_BYTES, _UDP_BYTES, _ICMP_BYTES = 20, 40, 8, 8
_FULL_TCP_SEGMENTS = 3


@dataclass(frozen=True)
class Exchange:
    """A request and its reply."""

    request: Probe
    reply: Probe
    namespace: str
    payload_bytes: int


def plan_exchanges(
    topology: Topology, phase: Phase, pod_mtu_bytes: int, run: bytes
) -> list[Exchange]:
    """Every flow kind, ordered pair, protocol and size of the seed's matrix.

    Args:
        run: random bytes of this run; marks of two runs differ.
    """
    names = [node.name for node in topology.nodes]
    exchanges = []
    for kind in FlowKind:
        for pair in pairs_of(kind, names):
            for protocol in Protocol:
                for size in Size:
                    exchanges.append(
                        _plan_exchange(
                            topology, phase, kind, pair, protocol, size, pod_mtu_bytes, run
                        )
                    )
    return exchanges


def _plan_exchange(
    topology: Topology,
    phase: Phase,
    kind: FlowKind,
    pair: Pair,
    protocol: Protocol,
    size: Size,
    pod_mtu_bytes: int,
    run: bytes,
) -> Exchange:
    source, destination, namespace = _ends(
        kind, topology.node(pair.source), topology.node(pair.destination)
    )
    mtu_bytes = UNDERLAY_MTU_BYTES if kind is FlowKind.HOST_TO_HOST else pod_mtu_bytes
    name = f"{kind.name.lower()}/{pair.source}>{pair.destination}/{protocol.value}/{size.value}"
    mark = make_mark(run, f"{phase.value} {name}")
    reply_mark = (
        mark if protocol is Protocol.ICMP else make_mark(run, f"{phase.value} {name} reply")
    )
    is_ipv6 = ":" in destination.address
    unsent = datetime.fromtimestamp(0, UTC)

    def probe(direction: Direction, its_mark: bytes, a: Endpoint, b: Endpoint) -> Probe:
        full_name = f"{name}/{direction.value}"
        return Probe(full_name, its_mark, kind, protocol, size, direction, a, b, (), unsent)

    request = probe(Direction.REQUEST, mark, source, destination)
    reply = probe(Direction.REPLY, reply_mark, destination, source)
    return Exchange(request, reply, namespace, _payload_bytes(protocol, size, mtu_bytes, is_ipv6))


def _host_name(node: Node) -> str:
    return f"{node.name}-host"


def _ends(kind: FlowKind, a: Node, b: Node) -> tuple[Endpoint, Endpoint, str]:
    """Both ends and the namespace that the request is sent from ("" is the host's)."""

    def pod(node: Node, index: int) -> Endpoint:
        chosen = node.pods[index]
        return Endpoint(node.name, chosen.name, str(chosen.newest_address))

    def host(node: Node, through_overlay: bool) -> Endpoint:
        address = node.newest_management_port if through_overlay else node.underlay.ip
        return Endpoint(node.name, _host_name(node), str(address))

    match kind:
        case FlowKind.POD_TO_POD:
            return pod(a, 0), pod(b, 0), a.pods[0].namespace
        case FlowKind.POD_TO_POD_SAME_NODE:
            return pod(a, 0), pod(a, 1), a.pods[0].namespace
        case FlowKind.HOST_TO_POD:
            return host(a, True), pod(b, 0), ""
        case FlowKind.HOST_TO_HOST:
            return host(a, False), host(b, False), ""
        case FlowKind.POD_TO_HOST:
            return pod(a, 0), host(b, False), a.pods[0].namespace


def _payload_bytes(protocol: Protocol, size: Size, mtu_bytes: int, is_ipv6: bool) -> int:
    if size is Size.SMALL:
        return _SMALL_BYTES
    if protocol is Protocol.TCP:
        return _FULL_TCP_SEGMENTS * mtu_bytes
    ip_bytes = _IPV6_BYTES if is_ipv6 else _IPV4_BYTES
    return mtu_bytes - ip_bytes - (_UDP_BYTES if protocol is Protocol.UDP else _ICMP_BYTES)


async def _start_prober(running: Running, node: Node) -> Conversation:
    """`lab/guest/probe.py` on one node."""
    namespaces = [pod.namespace for pod in node.pods]
    return await Conversation.start(running.remote(node.name), "probe.py", namespaces)


async def send_exchanges(running: Running, exchanges: Sequence[Exchange]) -> tuple[Probe, ...]:
    """Send everything, at once from all nodes, and say what arrived.

    Returns requests and replies with `received_by` and `sent_at` filled in. Nothing is raised for a
    probe that did not arrive: that is a finding, and the judge's to make.
    """
    nodes = running.layout.topology.nodes
    probers = await asyncio.gather(*(_start_prober(running, node) for node in nodes))
    try:
        replies = {
            exchange.request.mark.hex(): exchange.reply.mark.hex()
            for exchange in exchanges
            if exchange.request.protocol is not Protocol.ICMP
        }
        await asyncio.gather(
            *(prober.ask({"op": "expect", "replies": replies}) for prober in probers)
        )
        sent_at = datetime.now(UTC)
        orders: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for exchange in exchanges:
            orders[exchange.request.source.node].append(_order(exchange))
        await asyncio.gather(
            *(prober.ask({"op": "send", "probes": orders[prober.node]}) for prober in probers)
        )
        answers = await asyncio.gather(*(prober.ask({"op": "received"}) for prober in probers))
    finally:
        for prober in probers:
            prober.stop()
    received = who_received(nodes, [answer["received"] for answer in answers])
    return tuple(fill_in(probe, received, sent_at) for probe in _flatten(exchanges))


Received = Mapping[tuple[str, str], Sequence[str]]
"""By kind of packet and mark: the names of the ends that got it."""


def who_received(nodes: Sequence[Node], answers: Sequence[Sequence[Sequence[str]]]) -> Received:
    """Put names to the namespaces in which marks arrived.

    Args:
        answers: of each node, namespace, kind of packet and mark; see `lab/guest/probe.py`.
    """
    received: dict[tuple[str, str], list[str]] = defaultdict(list)
    for node, answer in zip(nodes, answers, strict=True):
        ends = {"": _host_name(node)} | {pod.namespace: pod.name for pod in node.pods}
        for namespace, kind, mark in answer:
            received[kind, mark].append(ends[namespace])
    return received


def fill_in(probe: Probe, received: Received, sent_at: datetime) -> Probe:
    """The probe with who got it: its own end, another, several, or none."""
    kind = probe.protocol.value
    if probe.protocol is Protocol.ICMP:
        kind = f"icmp-{probe.direction.value}"
    received_by = tuple(sorted(received.get((kind, probe.mark.hex()), ())))
    return replace(probe, received_by=received_by, sent_at=sent_at)


def _order(exchange: Exchange) -> dict[str, Any]:
    request = exchange.request
    return {
        "id": request.id,
        "namespace": exchange.namespace,
        "protocol": request.protocol.value,
        "address": request.destination.address,
        "bytes": exchange.payload_bytes,
        "mark": request.mark.hex(),
    }


def _flatten(exchanges: Iterable[Exchange]) -> Iterable[Probe]:
    for exchange in exchanges:
        yield exchange.request
        yield exchange.reply
