"""What the judge says: values only, all the way down to JSON.

`Verdict` is what the terminal shows and the report is made of. It holds no key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from geneveil.verify.certificates import CertificateFacts
from geneveil.verify.findings import FrameCounts
from geneveil.verify.flows import Direction, Fate, FlowKind, Phase, Protocol, Size


class Observed(Enum):
    """What became of a probe, as far as the witness can tell.

    Only the first three can ever be what was expected.
    """

    ENCRYPTED = "encrypted"
    CLEAR = "clear"
    STAYED = "stayed on the node"
    CLEAR_AND_ENCRYPTED = "clear and encrypted"
    WRONG_CIPHER = "wrong cipher"
    TUNNEL_MODE = "tunnel mode"
    NOT_DECRYPTED = "not decrypted"
    NOT_DELIVERED = "not delivered"
    UNSEEN = "unseen"
    NOT_PROBED = "not probed"
    DIFFERING = "differing"

    @classmethod
    def of(cls, fate: Fate) -> "Observed":
        """The observation that a fate calls for."""
        return cls(fate.value)


class ReasonCode(Enum):
    """Why a verdict is a failure; stable words for machines."""

    GENEVE_IN_CLEAR = "geneve-in-clear"
    OBSERVATION = "observation"
    NO_CONTROL = "no-control"
    WRONG_CIPHER = "wrong-cipher"
    TUNNEL_MODE = "tunnel-mode"
    EMPTY_CAPTURE = "empty-capture"
    WITNESS_DROPPED = "witness-dropped"
    WITNESS_LATE = "witness-late"
    WITNESS_ENDED_EARLY = "witness-ended-early"
    WITNESS_COUNT = "witness-count"
    WITNESS_CLOCK = "witness-clock"
    CUT_FRAMES = "cut-frames"
    UNFINISHED_FRAGMENTS = "unfinished-fragments"
    OVERLAPPING_FRAGMENTS = "overlapping-fragments"
    FRAGMENTS = "fragments"
    MALFORMED_FRAMES = "malformed-frames"
    UNEXPECTED_TRAFFIC = "unexpected-traffic"
    STRAY_MARKS = "stray-marks"
    UNLISTED_NODE = "unlisted-node"
    NODES = "nodes"


@dataclass(frozen=True)
class Reason:
    """One reason why the verdict is a failure.

    Attributes:
        code: for machines.
        phase: the cluster it is about.
        text: for people.
    """

    code: ReasonCode
    phase: Phase
    text: str


@dataclass(frozen=True)
class Observation:
    """One probe of one phase, judged.

    Attributes:
        probe: the probe's id; empty if the square of the matrix was never probed.
        protocol: what carried the mark.
        size: small or full.
        direction: request or reply.
        source: who sent the packet.
        destination: who received it.
        expected: what the rule calls for.
        observed: what became of it.
        passed: observed as expected, and nothing in `problems`.
        problems: what else is wrong, for people.
        frames_clear: frames that anybody on the wire could read the mark in.
        frames_esp: ESP frames in which the mark was found after decryption.
        spis: SPIs of those, in hex.
        decrypted: true if the mark was found in decrypted ESP.
        cipher: of the SA that sealed it; null if none did.
        mode: transport or tunnel, as the decrypted packet shows; null if none was decrypted.
        first_frame: number of the first frame with the mark; null if there is none.
        packet_bytes: length of the longest packet of the probe as its sender made it, in whatever
            it was carried; null if it was not seen.
    """

    probe: str
    protocol: Protocol
    size: Size
    direction: Direction
    source: str
    destination: str
    expected: Fate
    observed: Observed
    passed: bool
    problems: tuple[str, ...]
    frames_clear: int = 0
    frames_esp: int = 0
    spis: tuple[str, ...] = ()
    decrypted: bool = False
    cipher: str | None = None
    mode: str | None = None
    first_frame: int | None = None
    packet_bytes: int | None = None


@dataclass(frozen=True)
class FlowRow:
    """One kind of flow between one ordered pair of nodes: its observations in sum.

    Attributes:
        kind: who talks to whom.
        source_node: node of the request's sender.
        destination_node: node of the request's receiver.
        expected: what the rule calls for.
        observed: what all observations agree on, or "differing".
        passed: every observation passed.
        frames_clear: sum over the observations.
        frames_esp: sum over the observations.
        spis: every SPI, in hex.
        decrypted: true if every mark that ESP should carry was found in decrypted ESP.
        ciphers: every cipher seen.
        modes: every mode seen.
        observations: each probe.
    """

    kind: FlowKind
    source_node: str
    destination_node: str
    expected: Fate
    observed: Observed
    passed: bool
    frames_clear: int
    frames_esp: int
    spis: tuple[str, ...]
    decrypted: bool
    ciphers: tuple[str, ...]
    modes: tuple[str, ...]
    observations: tuple[Observation, ...]


@dataclass(frozen=True)
class Offender:
    """A Geneve frame in clear where none may be.

    Attributes:
        frame: its number in the capture.
        seen_at: when.
        source: outer address.
        destination: outer address.
        destination_port: UDP port.
        probes: ids of the probes whose marks are in it.
    """

    frame: int
    seen_at: datetime
    source: str
    destination: str
    destination_port: int
    probes: tuple[str, ...]


@dataclass(frozen=True)
class Association:
    """An SA, without its keys, and what was done with it.

    Attributes:
        source: outer source address.
        destination: outer destination address.
        spi: in hex.
        cipher: as people name it.
        mode: as the kernel says.
        esn: 64-bit sequence numbers.
        frames_decrypted: ESP frames in the capture that its key opened.
        frames_geneve: how many of them held Geneve.
        modes_seen: as the decrypted packets show.
    """

    source: str
    destination: str
    spi: str
    cipher: str
    mode: str
    esn: bool
    frames_decrypted: int
    frames_geneve: int
    modes_seen: tuple[str, ...]


@dataclass(frozen=True)
class ClosedEsp:
    """ESP frames that could not be decrypted.

    Attributes:
        source: outer address.
        destination: outer address.
        spi: in hex.
        why: for people.
        cipher: of the SA with this SPI; null if none is known.
        frames: how many.
        first_frame: number of the first.
    """

    source: str
    destination: str
    spi: str
    why: str
    cipher: str | None
    frames: int
    first_frame: int


@dataclass(frozen=True)
class CaptureSummary:
    """The capture that was judged.

    Attributes:
        file: its name.
        sha256: of the file.
        size_bytes: of the file.
        first_frame_at: null if it holds no frame.
        last_frame_at: null if it holds no frame.
        frames_dropped: what the witness says it missed.
        witness_started_at: when the witness was listening.
        first_boot_at: when the first guest was started.
        last_halt_at: when the last guest was gone.
        witness_stopped_at: when the witness was told to stop.
        counts: frames by kind.
    """

    file: str
    sha256: str
    size_bytes: int
    first_frame_at: datetime | None
    last_frame_at: datetime | None
    frames_dropped: int
    witness_started_at: datetime
    first_boot_at: datetime
    last_halt_at: datetime
    witness_stopped_at: datetime
    counts: FrameCounts


@dataclass(frozen=True)
class NodeSummary:
    """One node, for the report.

    Attributes:
        name: host name.
        chassis: OVN's name of it.
        underlay_addresses: on the captured wire.
        mac: on the captured wire.
        pods: names of the pods that took part.
        host_pods: names of the host-network pods that took part.
    """

    name: str
    chassis: str
    underlay_addresses: tuple[str, ...]
    mac: str
    pods: tuple[str, ...]
    host_pods: tuple[str, ...]


@dataclass(frozen=True)
class PhaseVerdict:
    """One cluster, judged.

    Attributes:
        phase: IPsec off (disabled) or on (enabled).
        passed: no reason names this phase.
        capture: what was judged.
        nodes: who took part.
        pod_mtu_bytes: the pods' MTU.
        underlay_mtu_bytes: the wire's MTU.
        throughput_mbit_s: TCP between pods on two nodes; null if not measured.
        flows: the matrix.
        clear_geneve_frames: Geneve frames in clear, from first frame to last.
        clear_geneve_first: the first of them.
        associations: SAs and their use.
        closed_esp: ESP that stayed closed.
        certificates: the certificate authority's and the nodes'.
    """

    phase: Phase
    passed: bool
    capture: CaptureSummary
    nodes: tuple[NodeSummary, ...]
    pod_mtu_bytes: int
    underlay_mtu_bytes: int
    throughput_mbit_s: float | None
    flows: tuple[FlowRow, ...]
    clear_geneve_frames: int
    clear_geneve_first: tuple[Offender, ...]
    associations: tuple[Association, ...]
    closed_esp: tuple[ClosedEsp, ...]
    certificates: tuple[CertificateFacts, ...]


@dataclass(frozen=True)
class Verdict:
    """The judgement of one evidence folder.

    Attributes:
        passed: true only if there is no reason against it.
        reasons: every reason why it is a failure.
        remarks: what a reader should know though it fails nothing.
        cluster: the cluster's name.
        evidence_at: when the evidence was finished.
        versions: what ran, by name.
        phases: disabled, then enabled.
    """

    passed: bool
    reasons: tuple[Reason, ...]
    remarks: tuple[str, ...]
    cluster: str
    evidence_at: datetime
    versions: Mapping[str, str]
    phases: tuple[PhaseVerdict, ...]

    def phase(self, phase: Phase) -> PhaseVerdict:
        """One phase's verdict."""
        return next(p for p in self.phases if p.phase is phase)
