"""The evidence folder: what the lab leaves for the judge, and an auditor can judge again.

    DIR/evidence.json      these classes, as JSON (`Evidence.to_json`, `Evidence.from_json`)
    DIR/disabled.pcap      the witness's capture of the cluster installed with IPsec off
    DIR/enabled.pcap       the same, of the cluster installed with IPsec on

The witness is a capture on the underlay's bridge, outside every guest, from before the first
guest boots until after the last one halts. Classic pcap, Ethernet link type, whole frames.

`evidence.json` holds the session keys of SAs, because decrypting is the proof. They are worth
nothing once the lab is down, and they are never copied into a report.

The schema is published in docs/schema/evidence.schema.json, made from these classes.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address

from geneveil.verify.codec import decode, encode
from geneveil.verify.errors import EvidenceError
from geneveil.verify.flows import Direction, FlowKind, Pair, Phase, Protocol, Size, Variant
from geneveil.verify.marks import MARK_BYTES, MARK_MAGIC

SCHEMA_VERSION = 2
GCM_AES = "rfc4106(gcm(aes))"


@dataclass(frozen=True)
class Endpoint:
    """One end of a flow.

    Attributes:
        node: name of the node it is on.
        name: name of the pod or host-network pod, for people.
        address: its own IP address as its packets show it inside the overlay. For a host-network
            pod that talks to a pod: the address of the management port; to a host: the underlay's.
    """

    node: str
    name: str
    address: str


@dataclass(frozen=True)
class Probe:
    """One marked sending, and whether it arrived.

    A probe and its reply are two probes. For TCP and UDP they have different marks. An ICMP echo
    reply carries the request's payload, so those two share one mark and are told apart on the
    wire by ICMP type and addresses.

    Attributes:
        id: unique within the phase.
        mark: 16 bytes, beginning with the fixed magic; see geneveil.verify.marks.
        kind: who talks to whom, from the sender of the request.
        protocol: what carries the mark.
        size: small, or full packets of the pods' MTU.
        direction: request or reply.
        source: who sends this packet. For a reply: the end that was asked.
        destination: who receives this packet. For a reply: the end that asked.
        received_by: names of all ends, on any node, that say that the mark arrived at them.
        sent_at: when it was sent, on the lab's clock.
    """

    id: str
    mark: bytes
    kind: FlowKind
    protocol: Protocol
    size: Size
    direction: Direction
    source: Endpoint
    destination: Endpoint
    received_by: tuple[str, ...]
    sent_at: datetime

    def __post_init__(self) -> None:
        if len(self.mark) != MARK_BYTES or not self.mark.startswith(MARK_MAGIC):
            raise ValueError(
                f"probe {self.id}: a mark is {MARK_BYTES} bytes and begins with {MARK_MAGIC.hex()}"
            )

    @property
    def delivered(self) -> bool:
        """Whether the end that it was meant for got it."""
        return self.destination.name in self.received_by

    @property
    def received_elsewhere(self) -> tuple[str, ...]:
        """Ends that got it and should not have."""
        return tuple(name for name in self.received_by if name != self.destination.name)

    @property
    def variant(self) -> Variant:
        """The square of the matrix that this probe fills; the pair is the request's."""
        ends = (self.source.node, self.destination.node)
        pair = Pair(*(ends if self.direction is Direction.REQUEST else reversed(ends)))
        return Variant(self.kind, pair, self.protocol, self.size, self.direction)


@dataclass(frozen=True)
class SaKey:
    """One SA with its key, as the kernel of a node has it.

    Attributes:
        source: outer source address.
        destination: outer destination address.
        spi: security parameters index.
        algorithm: the kernel's name; "rfc4106(gcm(aes))" is AES-GCM with a salted nonce.
        key: the key without the salt; 32 bytes are AES-256.
        salt: 4 bytes for AES-GCM, else empty.
        icv_bits: length of the integrity check value.
        esn: true if sequence numbers are 64 bits long (RFC 4303, 2.2.1).
        mode: as the kernel says: transport, tunnel, beet.
        node: name of the node it was read from.
        encapsulation_ports: UDP source and destination port if ESP rides in UDP, else empty.
        sequence_high: upper half of the sequence number when it was read, if the kernel said so;
            a hint where to begin to look.
    """

    source: str
    destination: str
    spi: int
    algorithm: str
    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    icv_bits: int
    esn: bool
    mode: str
    node: str
    encapsulation_ports: tuple[int, ...] = ()
    sequence_high: int = 0


@dataclass(frozen=True)
class NodeEvidence:
    """One node of a cluster.

    Attributes:
        name: host name.
        chassis: OVN's name of the chassis, which its certificate must carry.
        underlay_addresses: its addresses on the captured wire.
        mac: its MAC address on the captured wire.
        certificate_pem: the certificate it authenticates with; null if it has none.
    """

    name: str
    chassis: str
    underlay_addresses: tuple[str, ...]
    mac: str
    certificate_pem: str | None = None


@dataclass(frozen=True)
class PhaseEvidence:
    """One cluster from boot to halt. All times are of the lab's clock, which is the witness's.

    Attributes:
        phase: installed with IPsec off (disabled) or on (enabled).
        capture_file: name of the capture in the evidence folder.
        frames_captured: how many frames the witness says it wrote.
        frames_dropped: how many frames the witness says it missed; must be 0.
        witness_started_at: when the witness was listening.
        first_boot_at: when the first guest was started; not before the witness.
        last_halt_at: when the last guest was gone.
        witness_stopped_at: when the witness was told to stop; not before the last halt.
        geneve_ports: UDP destination ports of the overlay.
        pod_mtu_bytes: the pods' MTU.
        nodes: every node.
        probes: everything that was sent.
        sa_keys: every SA that any node had at any time; the two ends' readings may both be here.
        ca_certificate_pem: the cluster's certificate authority; null if it has none.
        throughput_mbit_s: TCP between pods on two nodes, measured; null if it was not.
        underlay_mtu_bytes: the wire's MTU.
    """

    phase: Phase
    capture_file: str
    frames_captured: int
    frames_dropped: int
    witness_started_at: datetime
    first_boot_at: datetime
    last_halt_at: datetime
    witness_stopped_at: datetime
    geneve_ports: tuple[int, ...]
    pod_mtu_bytes: int
    nodes: tuple[NodeEvidence, ...]
    probes: tuple[Probe, ...]
    sa_keys: tuple[SaKey, ...]
    ca_certificate_pem: str | None = None
    throughput_mbit_s: float | None = None
    underlay_mtu_bytes: int = 1500

    def __post_init__(self) -> None:
        if not self.geneve_ports:
            raise ValueError("geneve_ports is empty: nothing could be told to be Geneve")
        _check_names(self)
        _check_addresses(self)
        _check_marks(self)


@dataclass(frozen=True)
class Evidence:
    """Everything the judge is told; the captures tell the rest.

    Attributes:
        schema_version: 2.
        cluster: the cluster's name.
        created_at: when the evidence was finished.
        versions: what ran, by name: kernel, Open vSwitch, OVN, strongSwan, geneveil.
        phases: one entry for each phase, both needed.
    """

    schema_version: int
    cluster: str
    created_at: datetime
    versions: Mapping[str, str]
    phases: tuple[PhaseEvidence, ...]

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(f"schema_version is {self.schema_version}, not {SCHEMA_VERSION}")
        if sorted(p.phase.value for p in self.phases) != ["disabled", "enabled"]:
            raise ValueError("phases must be one disabled and one enabled")

    def phase(self, phase: Phase) -> PhaseEvidence:
        """The evidence of one phase."""
        return next(p for p in self.phases if p.phase is phase)

    def to_json(self) -> str:
        """The text of evidence.json."""
        return json.dumps(encode(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "evidence.json") -> "Evidence":
        """Read evidence.json.

        Raises:
            EvidenceError: not JSON (with the line), or a field is unknown, missing, mistyped or
                contradicts another; names the field.
        """
        try:
            value = json.loads(text)
        except ValueError as error:
            raise EvidenceError(f"{name} is not JSON", why=str(error)) from error
        return decode(cls, value, name)


def _check_names(phase: PhaseEvidence) -> None:
    names = [node.name for node in phase.nodes]
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"two nodes are called {name}")
    for identifier, count in Counter(probe.id for probe in phase.probes).items():
        if count > 1:
            raise ValueError(f"two probes are called {identifier}")
    nodes_of_ends: dict[str, str] = {}
    for probe in phase.probes:
        for end in (probe.source, probe.destination):
            if end.node not in names:
                raise ValueError(f"probe {probe.id} names node {end.node}, which is not listed")
            if nodes_of_ends.setdefault(end.name, end.node) != end.node:
                raise ValueError(f"{end.name} is on {nodes_of_ends[end.name]} and on {end.node}")


def _check_addresses(phase: PhaseEvidence) -> None:
    owners: dict[str, str] = {}
    for node in phase.nodes:
        if not node.underlay_addresses:
            raise ValueError(f"node {node.name} has no underlay address")
        for address in node.underlay_addresses:
            ip_address(address)
            if owners.setdefault(address, node.name) != node.name:
                raise ValueError(f"nodes {owners[address]} and {node.name} both have {address}")
    for probe in phase.probes:
        for end in (probe.source, probe.destination):
            ip_address(end.address)
    for sa in phase.sa_keys:
        ip_address(sa.source)
        ip_address(sa.destination)


def _check_marks(phase: PhaseEvidence) -> None:
    """A mark belongs to one probe, or to one ICMP request and its reply."""
    owners: dict[bytes, list[Probe]] = {}
    for probe in phase.probes:
        owners.setdefault(probe.mark, []).append(probe)
    for probes in owners.values():
        directions = {probe.direction for probe in probes}
        echo = all(probe.protocol is Protocol.ICMP for probe in probes)
        if len(probes) > 1 and not (echo and len(probes) == len(directions)):
            raise ValueError(f"probes {', '.join(p.id for p in probes)} have one mark")
