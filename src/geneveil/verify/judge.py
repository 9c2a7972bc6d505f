"""The judgement: evidence and captures in, verdict out.

Pass means all of this, and nothing less:
    every square of the flow matrix was probed in both clusters;
    every probe of both clusters became what the rule calls for;
    with IPsec off, the same witness saw the same probes in clear (the positive control), or its
    not seeing them with IPsec on proves nothing;
    with IPsec on, not one Geneve frame was in clear, from the first frame to the last, and
    nothing was there that could have carried one unseen;
    packets of full size crossed in full size, and no ESP or Geneve in pieces;
    whoever used the overlay is in the evidence;
    both captures are whole and cover their cluster from before boot to after halt.
Fails closed: what can't be told is a reason, never a pass.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from geneveil.model.frames import Capture
from geneveil.verify.evidence import Evidence, PhaseEvidence
from geneveil.verify.findings import Findings
from geneveil.verify.flows import (
    CARRIERS,
    Carrier,
    Fate,
    FlowKind,
    Pair,
    Phase,
    Variant,
    expected_fate,
    required_variants,
)
from geneveil.verify.observe import observe_probes
from geneveil.verify.scan import scan_capture
from geneveil.verify.strangers import check_strangers
from geneveil.verify.summaries import summarise_phase
from geneveil.verify.verdict import (
    FlowRow,
    Observation,
    Observed,
    PhaseVerdict,
    Reason,
    ReasonCode,
    Verdict,
)
from geneveil.verify.witness import check_enabled, check_fragments, check_witness

NO_CONTROL = "no control: with IPsec off, the same probe was not seen in clear"
_NAMED_OBSERVATIONS = 3

Matrix = dict[Variant, list[Observation]]


def judge(evidence: Evidence, captures: Mapping[Phase, Capture]) -> Verdict:
    """Judge an evidence folder.

    Args:
        evidence: what the lab says.
        captures: what the witness saw, one capture for each phase. Frames are read once.
    Returns:
        The verdict, with every reason against it, every observation and what the captures hold.
    Raises:
        EvidenceError: a certificate can't be read. And whatever reading the frames raises.
    Fails closed: yes.
    """
    findings: dict[Phase, Findings] = {}
    matrices: dict[Phase, Matrix] = {}
    for phase in Phase:
        told = evidence.phase(phase)
        findings[phase] = scan_capture(
            captures[phase].frames,
            geneve_ports=told.geneve_ports,
            sa_keys=told.sa_keys,
            marks=(probe.mark for probe in told.probes),
        )
        matrices[phase] = _fill_matrix(told, observe_probes(told, findings[phase]))
    matrices[Phase.ENABLED] = _demand_control(matrices[Phase.ENABLED], matrices[Phase.DISABLED])
    reasons: list[Reason] = list(_check_nodes(evidence))
    for phase in Phase:
        reasons += check_enabled(evidence.phase(phase), findings[phase])
        reasons += check_witness(evidence.phase(phase), findings[phase])
        reasons += check_fragments(evidence.phase(phase), findings[phase])
        reasons += check_strangers(evidence.phase(phase), findings[phase])
        reasons += _check_matrix(phase, matrices[phase])
    return Verdict(
        passed=not reasons,
        reasons=tuple(reasons),
        remarks=tuple(_remarks(evidence, findings)),
        cluster=evidence.cluster,
        evidence_at=evidence.created_at,
        versions=evidence.versions,
        phases=tuple(
            _phase_verdict(evidence, phase, captures, findings, matrices, reasons)
            for phase in Phase
        ),
    )


def _phase_verdict(
    evidence: Evidence,
    phase: Phase,
    captures: Mapping[Phase, Capture],
    findings: Mapping[Phase, Findings],
    matrices: Mapping[Phase, Matrix],
    reasons: Iterable[Reason],
) -> PhaseVerdict:
    return summarise_phase(
        evidence.phase(phase),
        captures[phase],
        findings[phase],
        tuple(_flow_rows(phase, matrices[phase])),
        passed=all(reason.phase is not phase for reason in reasons),
    )


def _fill_matrix(phase: PhaseEvidence, observations: Iterable[Observation]) -> Matrix:
    """Put each observation in its square; a square without a probe gets one that fails."""
    matrix: Matrix = {v: [] for v in required_variants(node.name for node in phase.nodes)}
    for probe, observation in zip(phase.probes, observations, strict=True):
        matrix.setdefault(probe.variant, []).append(observation)
    for variant, found in matrix.items():
        if not found:
            found.append(_not_probed(variant, phase.phase))
    return matrix


def _not_probed(variant: Variant, phase: Phase) -> Observation:
    return Observation(
        probe="",
        protocol=variant.protocol,
        size=variant.size,
        direction=variant.direction,
        source=variant.pair.source,
        destination=variant.pair.destination,
        expected=expected_fate(variant.kind, phase),
        observed=Observed.NOT_PROBED,
        passed=False,
        problems=(),
    )


def _demand_control(enabled: Matrix, disabled: Matrix) -> Matrix:
    """With IPsec on, what crosses nodes passes only if the control for it passed."""

    def demand(variant: Variant, observation: Observation) -> Observation:
        control = disabled.get(variant, [])
        if CARRIERS[variant.kind] is Carrier.NONE or (control and all(c.passed for c in control)):
            return observation
        return replace(observation, passed=False, problems=(*observation.problems, NO_CONTROL))

    return {
        variant: [demand(variant, observation) for observation in found]
        for variant, found in enabled.items()
    }


def _flow_rows(phase: Phase, matrix: Matrix) -> Iterator[FlowRow]:
    rows: dict[tuple[FlowKind, Pair], list[Observation]] = defaultdict(list)
    for variant, found in matrix.items():
        rows[variant.kind, variant.pair] += found
    for (kind, pair), observations in rows.items():
        seen = {o.observed for o in observations}
        expected = expected_fate(kind, phase)
        yield FlowRow(
            kind=kind,
            source_node=pair.source,
            destination_node=pair.destination,
            expected=expected,
            observed=next(iter(seen)) if len(seen) == 1 else Observed.DIFFERING,
            passed=all(o.passed for o in observations),
            frames_clear=sum(o.frames_clear for o in observations),
            frames_esp=sum(o.frames_esp for o in observations),
            spis=tuple(sorted({spi for o in observations for spi in o.spis})),
            decrypted=expected is Fate.ENCRYPTED and all(o.decrypted for o in observations),
            ciphers=tuple(sorted({o.cipher for o in observations if o.cipher})),
            modes=tuple(sorted({o.mode for o in observations if o.mode})),
            observations=tuple(observations),
        )


def _check_matrix(phase: Phase, matrix: Matrix) -> Iterator[Reason]:
    """One reason for each kind of flow and each way in which it failed, with the first few."""
    failures: dict[tuple[FlowKind, str], list[str]] = defaultdict(list)
    no_control: list[str] = []
    totals: dict[FlowKind, int] = defaultdict(int)
    for variant, found in matrix.items():
        for observation in found:
            totals[variant.kind] += 1
            if observation.passed:
                continue
            name = _variant_text(variant)
            if fault := _fault_text(observation):
                failures[variant.kind, fault].append(name)
            else:
                no_control.append(f"{variant.kind.value} {name}")
    for (kind, fault), names in failures.items():
        yield Reason(
            ReasonCode.OBSERVATION,
            phase,
            f"{phase.value}: {kind.value}: {len(names)} of {totals[kind]} observations: {fault} "
            f"({_some(names)})",
        )
    if no_control:
        yield Reason(
            ReasonCode.NO_CONTROL,
            phase,
            f"{phase.value}: {len(no_control)} observations are as expected but prove nothing: "
            f"with IPsec off, the same probes were not seen in clear ({_some(no_control)})",
        )


def _fault_text(observation: Observation) -> str:
    """What is wrong with an observation itself; empty if all it lacks is its control."""
    faults = []
    if observation.observed is not Observed.of(observation.expected):
        cipher = observation.cipher if observation.observed is Observed.WRONG_CIPHER else None
        named = f" ({cipher})" if cipher else ""
        faults.append(
            f"expected {observation.expected.value}, observed {observation.observed.value}{named}"
        )
    faults += [p for p in observation.problems if p != NO_CONTROL and not p.startswith("frame ")]
    if any(p.startswith("frame ") for p in observation.problems):
        faults.append("its mark was in a packet that is not the probe")
    return "; ".join(faults)


def _variant_text(variant: Variant) -> str:
    pair = variant.pair
    where = (
        pair.source if pair.source == pair.destination else f"{pair.source} → {pair.destination}"
    )
    return f"{where} {variant.protocol.value} {variant.size.value} {variant.direction.value}"


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED_OBSERVATIONS
    return "; ".join(names[:_NAMED_OBSERVATIONS]) + (f"; and {more} more" if more > 0 else "")


def _check_nodes(evidence: Evidence) -> Iterator[Reason]:
    names = {phase: sorted(n.name for n in evidence.phase(phase).nodes) for phase in Phase}
    for phase, found in names.items():
        if len(found) < 2:
            yield Reason(ReasonCode.NODES, phase, f"{phase.value}: fewer than two nodes")
    if names[Phase.DISABLED] != names[Phase.ENABLED]:
        yield Reason(
            ReasonCode.NODES, Phase.DISABLED, "the two clusters do not have the same nodes"
        )


def _remarks(evidence: Evidence, findings: Mapping[Phase, Findings]) -> Iterator[str]:
    """What fails nothing by itself but should not be passed over."""
    for phase in Phase:
        told, found = evidence.phase(phase), findings[phase]
        closed = sum(group.frames for group in found.closed)
        if closed:
            yield f"{told.capture_file}: {closed} ESP frames could not be decrypted"
        if found.counts.fragments:
            yield f"{told.capture_file}: {found.counts.fragments} frames are IP fragments"
        if phase is Phase.DISABLED and found.counts.stray_marks:
            yield (
                f"{told.capture_file}: {found.counts.stray_marks} frames carry a mark "
                "that is none of this phase's probes'"
            )
        if phase is Phase.DISABLED and found.counts.malformed:
            yield f"{told.capture_file}: {found.counts.malformed} frames can't be parsed"
        if phase is Phase.DISABLED and found.counts.esp + found.counts.esp_in_udp:
            yield f"{told.capture_file}: there is ESP in the cluster with IPsec off"
