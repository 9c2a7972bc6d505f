"""Puts a phase's evidence and findings into the verdict's words. Decides nothing."""

from collections.abc import Iterator

from geneveil.model.frames import Capture
from geneveil.verify.certificates import read_certificates
from geneveil.verify.esp import cipher_name
from geneveil.verify.evidence import Endpoint, PhaseEvidence
from geneveil.verify.findings import Findings
from geneveil.verify.flows import Direction, FlowKind
from geneveil.verify.packet import address_text
from geneveil.verify.verdict import (
    Association,
    CaptureSummary,
    ClosedEsp,
    FlowRow,
    NodeSummary,
    Offender,
    PhaseVerdict,
)
from geneveil.verify.witness import time_of

# Which end of a flow is a host-network pod: (asking end, answering end).
_HOST_ENDS = {
    FlowKind.POD_TO_POD: (False, False),
    FlowKind.HOST_TO_POD: (True, False),
    FlowKind.POD_TO_POD_SAME_NODE: (False, False),
    FlowKind.HOST_TO_HOST: (True, True),
    FlowKind.POD_TO_HOST: (False, True),
}


def summarise_phase(
    phase: PhaseEvidence,
    capture: Capture,
    findings: Findings,
    flows: tuple[FlowRow, ...],
    *,
    passed: bool,
) -> PhaseVerdict:
    """Everything about one phase, for people and machines.

    Raises:
        EvidenceError: a certificate can't be read.
    """
    return PhaseVerdict(
        phase=phase.phase,
        passed=passed,
        capture=_summarise_capture(phase, capture, findings),
        nodes=tuple(_summarise_nodes(phase)),
        pod_mtu_bytes=phase.pod_mtu_bytes,
        underlay_mtu_bytes=phase.underlay_mtu_bytes,
        throughput_mbit_s=phase.throughput_mbit_s,
        flows=flows,
        clear_geneve_frames=findings.counts.geneve_clear,
        clear_geneve_first=tuple(_offenders(phase, findings)),
        associations=tuple(_associations(phase, findings)),
        closed_esp=tuple(
            ClosedEsp(
                source=address_text(group.source),
                destination=address_text(group.destination),
                spi=f"{group.spi:08x}",
                why=group.why.value,
                cipher=cipher_name(group.sa) if group.sa else None,
                frames=group.frames,
                first_frame=group.first_frame,
            )
            for group in findings.closed
        ),
        certificates=read_certificates(phase),
    )


def _summarise_capture(
    phase: PhaseEvidence, capture: Capture, findings: Findings
) -> CaptureSummary:
    first, last = findings.first_time_ns, findings.last_time_ns
    return CaptureSummary(
        file=capture.name,
        sha256=capture.sha256,
        size_bytes=capture.size_bytes,
        first_frame_at=time_of(first) if first is not None else None,
        last_frame_at=time_of(last) if last is not None else None,
        frames_dropped=phase.frames_dropped,
        witness_started_at=phase.witness_started_at,
        first_boot_at=phase.first_boot_at,
        last_halt_at=phase.last_halt_at,
        witness_stopped_at=phase.witness_stopped_at,
        counts=findings.counts,
    )


def _summarise_nodes(phase: PhaseEvidence) -> Iterator[NodeSummary]:
    pods: dict[str, set[str]] = {node.name: set() for node in phase.nodes}
    host_pods: dict[str, set[str]] = {node.name: set() for node in phase.nodes}

    def note(end: Endpoint, is_host: bool) -> None:
        (host_pods if is_host else pods)[end.node].add(end.name)

    for probe in phase.probes:
        asks_from_host, answers_from_host = _HOST_ENDS[probe.kind]
        asker, answerer = probe.source, probe.destination
        if probe.direction is Direction.REPLY:
            asker, answerer = answerer, asker
        note(asker, asks_from_host)
        note(answerer, answers_from_host)
    for node in phase.nodes:
        yield NodeSummary(
            name=node.name,
            chassis=node.chassis,
            underlay_addresses=node.underlay_addresses,
            mac=node.mac,
            pods=tuple(sorted(pods[node.name])),
            host_pods=tuple(sorted(host_pods[node.name])),
        )


def _offenders(phase: PhaseEvidence, findings: Findings) -> Iterator[Offender]:
    names = {probe.mark: probe.id for probe in phase.probes}
    for frame in findings.clear_geneve:
        yield Offender(
            frame=frame.frame,
            seen_at=time_of(frame.time_ns),
            source=address_text(frame.source),
            destination=address_text(frame.destination),
            destination_port=frame.destination_port,
            probes=tuple(sorted(names[mark] for mark in frame.marks)),
        )


def _associations(phase: PhaseEvidence, findings: Findings) -> Iterator[Association]:
    """Each SA once, though both ends may have been read."""
    uses = {(use.sa.source, use.sa.destination, use.sa.spi): use for use in findings.uses}
    listed = {(sa.source, sa.destination, sa.spi): sa for sa in phase.sa_keys}
    for place, sa in sorted(listed.items()):
        use = uses.get(place)
        yield Association(
            source=sa.source,
            destination=sa.destination,
            spi=f"{sa.spi:08x}",
            cipher=cipher_name(sa),
            mode=sa.mode,
            esn=sa.esn,
            frames_decrypted=use.frames if use else 0,
            frames_geneve=use.geneve_frames if use else 0,
            modes_seen=tuple(sorted(use.modes)) if use else (),
        )
