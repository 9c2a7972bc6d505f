"""A small lab made of bytes: two clusters' evidence and captures, and ways to make them wrong.

`record(Phase.ENABLED)` gives a `Recording` in which all is well. A test changes one thing, and
the judge must notice.
"""

import struct
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from geneveil.model.frames import Capture, Frame
from geneveil.verify.evidence import (
    GCM_AES,
    SCHEMA_VERSION,
    Endpoint,
    Evidence,
    NodeEvidence,
    PhaseEvidence,
    Probe,
    SaKey,
)
from geneveil.verify.flows import (
    CARRIERS,
    Carrier,
    Direction,
    FlowKind,
    Phase,
    Protocol,
    Size,
    Variant,
    required_variants,
)
from geneveil.verify.judge import judge
from geneveil.verify.marks import make_mark
from geneveil.verify.verdict import Verdict
from tests import synthetic_wire as wire

BOOT = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
RUN = bytes(range(16))
GENEVE_PORT = 6081
POD_MTU_BYTES, UNDERLAY_MTU_BYTES = 1404, 1500


@dataclass(frozen=True)
class Recipe:
    """How the enabled cluster seals, and which addresses both clusters have."""

    nodes: int = 2
    ipv6_underlay: bool = False
    ipv6_pods: bool = False
    algorithm: str = GCM_AES
    key_bytes: int = 32
    icv_bits: int = 128
    esn: bool = True
    sequence: int = 1
    told_sequence_high: int = 0
    kernel_mode: str = "transport"
    wire_mode: str = "transport"
    nat_traversal: bool = False


@dataclass
class Recording:
    """One phase: what the lab says, and the frames that each probe made on the wire."""

    evidence: PhaseEvidence
    recipe: Recipe
    frames: dict[str, list[bytes]] = field(default_factory=dict)
    extra: list[bytes] = field(default_factory=list)
    sequence: int = 1

    def probe(
        self,
        kind: FlowKind = FlowKind.POD_TO_POD,
        protocol: Protocol = Protocol.UDP,
        size: Size = Size.SMALL,
        direction: Direction = Direction.REQUEST,
    ) -> Probe:
        """The first probe of that description."""
        return next(
            p
            for p in self.evidence.probes
            if (p.kind, p.protocol, p.size, p.direction) == (kind, protocol, size, direction)
        )

    def replace_probe(self, changed: Probe) -> None:
        self.change(
            probes=tuple(changed if p.id == changed.id else p for p in self.evidence.probes)
        )

    def drop_probe(self, probe: Probe) -> None:
        self.change(probes=tuple(p for p in self.evidence.probes if p.id != probe.id))

    def change(self, **fields: object) -> None:
        self.evidence = replace(self.evidence, **fields)  # type: ignore[arg-type]

    def all_frames(self) -> list[Frame]:
        data = [*self.extra, *(f for frames in self.frames.values() for f in frames)]
        first_ns = int((BOOT + timedelta(seconds=5)).timestamp()) * 1_000_000_000
        return [Frame(i, first_ns + i * 1_000_000, d, len(d)) for i, d in enumerate(data, 1)]

    def told(self) -> PhaseEvidence:
        """The evidence, the witness's count being right unless a test set it (-1: not set)."""
        if self.evidence.frames_captured == -1:
            return replace(self.evidence, frames_captured=len(self.all_frames()))
        return self.evidence


def record(phase: Phase, recipe: Recipe = Recipe()) -> Recording:
    """A phase in which all is well, unless the recipe says otherwise."""
    nodes = tuple(_node(i, recipe) for i in range(1, recipe.nodes + 1))
    probes = tuple(_probe(phase, variant, recipe) for variant in required_variants(_names(nodes)))
    evidence = PhaseEvidence(
        phase=phase,
        capture_file=f"{phase.value}.pcap",
        frames_captured=-1,
        frames_dropped=0,
        witness_started_at=BOOT - timedelta(seconds=1),
        first_boot_at=BOOT,
        last_halt_at=BOOT + timedelta(minutes=1),
        witness_stopped_at=BOOT + timedelta(minutes=1, seconds=1),
        geneve_ports=(GENEVE_PORT,),
        pod_mtu_bytes=POD_MTU_BYTES,
        underlay_mtu_bytes=UNDERLAY_MTU_BYTES,
        nodes=nodes,
        probes=probes,
        sa_keys=_sa_keys(nodes, recipe) if phase is Phase.ENABLED else (),
        throughput_mbit_s=1150.0 if phase is Phase.DISABLED else 427.5,
    )
    recording = Recording(evidence, recipe, sequence=recipe.sequence)
    recording.extra.append(wire.ethernet(b"\0\1\x08\0\6\4\0\1" + bytes(20), ethertype=0x0806))
    ike = wire.udp(500, 500, wire.ike(b"an exchange"))
    a, b = (n.underlay_addresses[0] for n in nodes[:2])
    if phase is Phase.ENABLED:
        recording.extra.append(wire.ethernet(wire.ip(a, b, wire.UDP, ike)))
    for probe in probes:
        recording.frames[probe.id] = carry(recording, probe)
    return recording


def carry(recording: Recording, probe: Probe, shorter_bytes: int = 0) -> list[bytes]:
    """The frames that a probe makes on the wire in the recording's cluster."""
    carrier = CARRIERS[probe.kind]
    if carrier is Carrier.NONE:
        return []
    if carrier is Carrier.PLAIN_IP:
        return [plain(recording, probe, shorter_bytes)]
    if recording.evidence.phase is Phase.DISABLED:
        return [clear_geneve(recording, probe, shorter_bytes)]
    return [sealed(recording, probe, geneve_datagram(probe, shorter_bytes))]


def packet(probe: Probe, source: str = "", destination: str = "", shorter_bytes: int = 0) -> bytes:
    """The IP packet that a probe's sender makes; `shorter_bytes` than it should be."""
    a, b = source or probe.source.address, destination or probe.destination.address
    payload = probe.mark
    if probe.size is Size.FULL:
        # Full payloads begin in the middle of a mark, as a segment in mid-stream does.
        full_bytes = _full_payload_bytes(probe, is_ipv6=":" in a)
        payload = (probe.mark * 100)[5:][: full_bytes - shorter_bytes]
    match probe.protocol:
        case Protocol.UDP:
            return wire.ip(a, b, wire.UDP, wire.udp(40000, 9999, payload))
        case Protocol.TCP:
            return wire.ip(a, b, wire.TCP, wire.tcp(40000, 9999, payload))
    request = probe.direction is Direction.REQUEST
    if ":" in a:
        return wire.ip(a, b, wire.ICMPV6, wire.icmp(128 if request else 129, payload))
    return wire.ip(a, b, wire.ICMP, wire.icmp(8 if request else 0, payload))


def _full_payload_bytes(probe: Probe, *, is_ipv6: bool) -> int:
    mtu_bytes = UNDERLAY_MTU_BYTES if probe.kind is FlowKind.HOST_TO_HOST else POD_MTU_BYTES
    return mtu_bytes - (40 if is_ipv6 else 20) - (20 if probe.protocol is Protocol.TCP else 8)


def underlay(recording: Recording, probe: Probe) -> tuple[str, str]:
    addresses = {n.name: n.underlay_addresses[0] for n in recording.evidence.nodes}
    return addresses[probe.source.node], addresses[probe.destination.node]


def plain(recording: Recording, probe: Probe, shorter_bytes: int = 0) -> bytes:
    """As a host sends it; a pod's packet to a host leaves with its node's address."""
    return wire.ethernet(packet(probe, *underlay(recording, probe), shorter_bytes))


def geneve_datagram(probe: Probe, shorter_bytes: int = 0) -> bytes:
    inner = packet(probe, shorter_bytes=shorter_bytes)
    return wire.udp(23456, GENEVE_PORT, wire.geneve(wire.ethernet(inner)))


def clear_geneve(recording: Recording, probe: Probe, shorter_bytes: int = 0) -> bytes:
    a, b = underlay(recording, probe)
    return wire.ethernet(wire.ip(a, b, wire.UDP, geneve_datagram(probe, shorter_bytes)))


def sealed(recording: Recording, probe: Probe, payload: bytes | None = None) -> bytes:
    """The probe in Geneve in ESP, as the recipe says."""
    a, b = underlay(recording, probe)
    sa = next(k for k in recording.evidence.sa_keys if (k.source, k.destination) == (a, b))
    payload = geneve_datagram(probe) if payload is None else payload
    next_header = wire.UDP
    if recording.recipe.wire_mode == "tunnel":
        payload = wire.ip(a, b, wire.UDP, payload)
        next_header = 41 if ":" in a else wire.IPIP
    sealing = replace(sa, salt=sa.salt or bytes(4), icv_bits=sa.icv_bits or 128)
    esp = wire.seal(sealing, recording.sequence, payload, next_header=next_header)
    recording.sequence += 1
    if recording.recipe.nat_traversal:
        return wire.ethernet(wire.ip(a, b, wire.UDP, wire.udp(4500, 4500, esp)))
    return wire.ethernet(wire.ip(a, b, wire.ESP, esp))


def judge_recordings(disabled: Recording, enabled: Recording) -> Verdict:
    """The verdict on two recordings, held in memory."""
    captures = {
        r.evidence.phase: Capture(f"{r.evidence.phase.value}.pcap", "00" * 32, 0, r.all_frames())
        for r in (disabled, enabled)
    }
    return judge(evidence_of(disabled, enabled), captures)


def evidence_of(disabled: Recording, enabled: Recording) -> Evidence:
    return Evidence(
        schema_version=SCHEMA_VERSION,
        cluster="synthetic",
        created_at=BOOT + timedelta(minutes=2),
        versions={"kernel": "6.12", "strongSwan": "6.0"},
        phases=(disabled.told(), enabled.told()),
    )


def write_folder(folder: Path, disabled: Recording, enabled: Recording) -> Path:
    """An evidence folder on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evidence.json").write_text(evidence_of(disabled, enabled).to_json())
    for recording in (disabled, enabled):
        (folder / recording.evidence.capture_file).write_bytes(pcap(recording.all_frames()))
    return folder


def pcap(frames: list[Frame]) -> bytes:
    """A classic pcap file with nanoseconds."""
    parts = [struct.pack("<IHHIIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)]
    for frame in frames:
        seconds, fraction = divmod(frame.time_ns, 1_000_000_000)
        parts.append(struct.pack("<IIII", seconds, fraction, len(frame.data), frame.wire_bytes))
        parts.append(frame.data)
    return b"".join(parts)


def _names(nodes: tuple[NodeEvidence, ...]) -> list[str]:
    return [node.name for node in nodes]


def _node(index: int, recipe: Recipe) -> NodeEvidence:
    address = f"2001:db8::{index}" if recipe.ipv6_underlay else f"192.0.2.{10 + index}"
    return NodeEvidence(
        f"node{index}", f"chassis-{index}", (address,), f"02:00:00:00:00:{index:02x}"
    )


def _endpoint(node: str, host: bool, overlay: bool, second: bool, recipe: Recipe) -> Endpoint:
    index = int(node.removeprefix("node"))
    if host and not overlay:
        return Endpoint(node, f"{node}-host", _node(index, recipe).underlay_addresses[0])
    pod_last = 4 if second else 3
    last = 2 if host else pod_last
    address = f"fd00:10:128:{index}::{last}" if recipe.ipv6_pods else f"10.128.{index}.{last}"
    return Endpoint(node, f"{node}-host" if host else f"pod-{index}-{last - 2}", address)


def _probe(phase: Phase, variant: Variant, recipe: Recipe) -> Probe:
    kind = variant.kind
    from_host = kind in (FlowKind.HOST_TO_POD, FlowKind.HOST_TO_HOST)
    to_host = kind in (FlowKind.HOST_TO_HOST, FlowKind.POD_TO_HOST)
    ends = [
        _endpoint(variant.pair.source, from_host, kind is FlowKind.HOST_TO_POD, False, recipe),
        _endpoint(
            variant.pair.destination, to_host, False, kind is FlowKind.POD_TO_POD_SAME_NODE, recipe
        ),
    ]
    name = (
        f"{kind.name.lower()}/{variant.pair.source}>{variant.pair.destination}/"
        f"{variant.protocol.value}/{variant.size.value}"
    )
    full_name = f"{name}/{variant.direction.value}"
    if variant.direction is Direction.REPLY:
        ends.reverse()
    marked = name if variant.protocol is Protocol.ICMP else full_name
    return Probe(
        id=full_name,
        mark=make_mark(RUN, f"{phase.value} {marked}"),
        kind=kind,
        protocol=variant.protocol,
        size=variant.size,
        direction=variant.direction,
        source=ends[0],
        destination=ends[1],
        received_by=(ends[1].name,),
        sent_at=BOOT + timedelta(seconds=10),
    )


def _sa_keys(nodes: tuple[NodeEvidence, ...], recipe: Recipe) -> tuple[SaKey, ...]:
    pairs = [(a, b) for a in nodes for b in nodes if a is not b]
    return tuple(
        SaKey(
            source=a.underlay_addresses[0],
            destination=b.underlay_addresses[0],
            spi=0xC0000000 + number,
            algorithm=recipe.algorithm,
            key=bytes((number + i) % 256 for i in range(recipe.key_bytes)),
            salt=b"salt" if recipe.algorithm == GCM_AES else b"",
            icv_bits=recipe.icv_bits,
            esn=recipe.esn,
            mode=recipe.kernel_mode,
            node=node.name,
            encapsulation_ports=(4500, 4500) if recipe.nat_traversal else (),
            sequence_high=recipe.told_sequence_high,
        )
        for number, (a, b) in enumerate(pairs, 1)
        for node in (a, b)
    )
