"""The flow matrix: which kinds of traffic there are, and what must happen to each.

    pod  -> pod, other node           Geneve        encrypted
    host -> pod, other node           Geneve        encrypted
    pod  -> pod, same node            no wire       stays on the node
    host -> host, other node          plain IP      clear
    pod  -> host, other node          plain IP      clear (masqueraded by the host)

What rides Geneve between nodes is encrypted; what does not, is not. With IPsec off, the same
probes are the positive control: whatever crosses nodes must then be seen in clear, in the same
carrier, or not having seen it with IPsec on proves nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum


class Phase(Enum):
    """Which of the two clusters: installed with IPsec off, or on."""

    DISABLED = "disabled"
    ENABLED = "enabled"


class FlowKind(Enum):
    """Who talks to whom; named from the sender of the request."""

    POD_TO_POD = "pod to pod, other node"
    HOST_TO_POD = "host-network pod to pod, other node"
    POD_TO_POD_SAME_NODE = "pod to pod, same node"
    HOST_TO_HOST = "host-network pod to host-network pod, other node"
    POD_TO_HOST = "pod to host-network pod, other node"


class Protocol(Enum):
    """What carries the mark."""

    TCP = "tcp"
    UDP = "udp"
    ICMP = "icmp"


class Size(Enum):
    """Small is one short packet; full fills the pods' MTU."""

    SMALL = "small"
    FULL = "full"


class Direction(Enum):
    """Both halves of an exchange are probed. A reply travels from destination to source."""

    REQUEST = "request"
    REPLY = "reply"


class Carrier(Enum):
    """How a flow travels between nodes. The last two are only ever seen, never expected."""

    GENEVE = "Geneve"
    PLAIN_IP = "plain IP"
    NONE = "none"
    ESP_READABLE = "ESP that anybody can read"
    OTHER = "something else"


class Fate(Enum):
    """What the witness can find to have happened to a flow, when all is understood."""

    ENCRYPTED = "encrypted"
    CLEAR = "clear"
    STAYED = "stayed on the node"


CARRIERS = {
    FlowKind.POD_TO_POD: Carrier.GENEVE,
    FlowKind.HOST_TO_POD: Carrier.GENEVE,
    FlowKind.POD_TO_POD_SAME_NODE: Carrier.NONE,
    FlowKind.HOST_TO_HOST: Carrier.PLAIN_IP,
    FlowKind.POD_TO_HOST: Carrier.PLAIN_IP,
}


def expected_fate(kind: FlowKind, phase: Phase) -> Fate:
    """What must happen to a flow, by the rule in this file's heading."""
    carrier = CARRIERS[kind]
    if carrier is Carrier.NONE:
        return Fate.STAYED
    if carrier is Carrier.GENEVE and phase is Phase.ENABLED:
        return Fate.ENCRYPTED
    return Fate.CLEAR


@dataclass(frozen=True, order=True)
class Pair:
    """Two nodes in order: where the request comes from and where it goes; may be one node."""

    source: str
    destination: str


@dataclass(frozen=True)
class Variant:
    """One square of the matrix: what one probe stands for. The same in both phases."""

    kind: FlowKind
    pair: Pair
    protocol: Protocol
    size: Size
    direction: Direction


def pairs_of(kind: FlowKind, nodes: Iterable[str]) -> tuple[Pair, ...]:
    """Every ordered pair of nodes to which a flow kind applies."""
    names = tuple(nodes)
    if CARRIERS[kind] is Carrier.NONE:
        return tuple(Pair(name, name) for name in names)
    return tuple(Pair(a, b) for a in names for b in names if a != b)


def required_variants(nodes: Iterable[str]) -> Iterator[Variant]:
    """Every square that must have been probed: a square without a probe is a failure.

    Five kinds, every ordered pair, TCP, UDP and ICMP, small and full size, request and reply.
    """
    names = tuple(nodes)
    for kind in FlowKind:
        for pair in pairs_of(kind, names):
            for protocol in Protocol:
                for size in Size:
                    for direction in Direction:
                        yield Variant(kind, pair, protocol, size, direction)
