"""Asks of a capture whether it can be believed: whole, complete, from before boot to after halt.

Also what must hold of the capture of a cluster with IPsec on, whatever the probes say: not one
Geneve frame in clear, from the first frame to the last, and no SA but the required kind.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from geneveil.verify.esp import REQUIRED_CIPHER, cipher_name, is_required_cipher
from geneveil.verify.evidence import PhaseEvidence
from geneveil.verify.findings import ClearGeneve, Findings
from geneveil.verify.flows import Phase
from geneveil.verify.packet import address_text
from geneveil.verify.verdict import Reason, ReasonCode

# Frames are stamped by the kernel, the lab's times are taken around it by a program.
CLOCK_SLACK = timedelta(seconds=2)
_LISTED_OFFENDERS = 3


def time_of(time_ns: int) -> datetime:
    """A frame's time, cut to microseconds."""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC) + timedelta(
        microseconds=time_ns % 1_000_000_000 // 1000
    )


def check_witness(phase: PhaseEvidence, findings: Findings) -> Iterator[Reason]:
    """Every reason not to believe a capture."""
    counts = findings.counts

    def reason(code: ReasonCode, text: str) -> Reason:
        return Reason(code, phase.phase, f"{phase.capture_file}: {text}")

    if counts.total == 0:
        yield reason(ReasonCode.EMPTY_CAPTURE, "holds no frame")
    if phase.frames_dropped:
        yield reason(
            ReasonCode.WITNESS_DROPPED, f"the witness missed {phase.frames_dropped} frames"
        )
    if counts.total != phase.frames_captured:
        yield reason(
            ReasonCode.WITNESS_COUNT,
            f"holds {counts.total} frames, the witness says {phase.frames_captured}",
        )
    if phase.witness_started_at > phase.first_boot_at:
        late = phase.witness_started_at - phase.first_boot_at
        yield reason(
            ReasonCode.WITNESS_LATE,
            f"begins {late.total_seconds():.3f} s after the first guest was started",
        )
    if phase.witness_stopped_at < phase.last_halt_at:
        early = phase.last_halt_at - phase.witness_stopped_at
        yield reason(
            ReasonCode.WITNESS_ENDED_EARLY,
            f"ends {early.total_seconds():.3f} s before the last guest was gone",
        )
    yield from _check_frame_times(phase, findings)
    if counts.cut:
        yield reason(
            ReasonCode.CUT_FRAMES, f"{counts.cut} frames are not whole; a mark could be cut off"
        )
    for code, fault, conflicting in (
        (ReasonCode.UNFINISHED_FRAGMENTS, "are not whole", False),
        (ReasonCode.OVERLAPPING_FRAGMENTS, "have pieces that contradict each other", True),
    ):
        packets = [p for p in findings.unfinished if p.conflicting is conflicting]
        if packets:
            yield reason(
                code,
                f"{len(packets)} fragmented packets {fault}, the first in frame "
                f"{packets[0].frames[0]} from {address_text(packets[0].source)} to "
                f"{address_text(packets[0].destination)}",
            )


def check_fragments(phase: PhaseEvidence, findings: Findings) -> Iterator[Reason]:
    """ESP or Geneve in pieces: then the pods' MTU leaves no room for what is put around a packet.

    In both clusters, whatever was in them and whether or not they could be put together.
    """
    groups = findings.fragmented
    if groups:
        listed = "; ".join(
            f"{group.what} from {address_text(group.source)} to {address_text(group.destination)}, "
            f"{group.frames} frames, the last piece of the first packet is frame "
            f"{group.first_frame}"
            for group in groups[:_LISTED_OFFENDERS]
        )
        yield Reason(
            ReasonCode.FRAGMENTS,
            phase.phase,
            f"{phase.capture_file}: {sum(group.frames for group in groups)} frames are pieces of "
            f"ESP or Geneve packets, which must never be cut: {listed}",
        )


def _check_frame_times(phase: PhaseEvidence, findings: Findings) -> Iterator[Reason]:
    """The capture's own stamps must lie within the time that the witness says it listened."""
    if findings.first_time_ns is None or findings.last_time_ns is None:
        return
    first, last = time_of(findings.first_time_ns), time_of(findings.last_time_ns)
    begin, end = phase.witness_started_at - CLOCK_SLACK, phase.witness_stopped_at + CLOCK_SLACK
    if first < begin or last > end:
        yield Reason(
            ReasonCode.WITNESS_CLOCK,
            phase.phase,
            f"{phase.capture_file}: its frames are from {first:%H:%M:%S} to {last:%H:%M:%S}, the "
            f"witness listened from {phase.witness_started_at:%H:%M:%S} to "
            f"{phase.witness_stopped_at:%H:%M:%S}",
        )


def check_enabled(phase: PhaseEvidence, findings: Findings) -> Iterator[Reason]:
    """What no capture of a cluster with IPsec on may show, probes or not."""
    if phase.phase is not Phase.ENABLED:
        return
    count = findings.counts.geneve_clear
    if count:
        listed = "; ".join(
            _offender_text(offender, phase)
            for offender in findings.clear_geneve[:_LISTED_OFFENDERS]
        )
        yield Reason(
            ReasonCode.GENEVE_IN_CLEAR,
            phase.phase,
            f"{phase.capture_file}: {count} Geneve frame{'s' if count > 1 else ''} in clear; "
            f"first: {listed}",
        )
    if findings.counts.malformed:
        yield Reason(
            ReasonCode.MALFORMED_FRAMES,
            phase.phase,
            f"{phase.capture_file}: {findings.counts.malformed} frames can't be parsed and could "
            "be anything",
        )
    yield from _check_associations(phase)


def _offender_text(offender: ClearGeneve, phase: PhaseEvidence) -> str:
    text = (
        f"frame {offender.frame} at {time_of(offender.time_ns):%H:%M:%S.%f} from "
        f"{address_text(offender.source)} to {address_text(offender.destination)} port "
        f"{offender.destination_port}"
    )
    probes = [probe.id for probe in phase.probes if probe.mark in offender.marks]
    return f"{text}, probe {', '.join(probes)}" if probes else text


def _check_associations(phase: PhaseEvidence) -> Iterator[Reason]:
    wrong_ciphers: dict[str, list[str]] = {}
    wrong_modes: dict[str, list[str]] = {}
    for sa in phase.sa_keys:
        spi = f"{sa.spi:08x} ({sa.source} to {sa.destination})"
        if not is_required_cipher(sa):
            wrong_ciphers.setdefault(cipher_name(sa), []).append(spi)
        if sa.mode != "transport":
            wrong_modes.setdefault(sa.mode, []).append(spi)
    for cipher, spis in wrong_ciphers.items():
        yield Reason(
            ReasonCode.WRONG_CIPHER,
            phase.phase,
            f"SAs use {cipher}, not {REQUIRED_CIPHER}: {_first_of(spis)}",
        )
    for mode, spis in wrong_modes.items():
        yield Reason(
            ReasonCode.TUNNEL_MODE,
            phase.phase,
            f"SAs are in {mode} mode, not transport: {_first_of(spis)}",
        )


def _first_of(texts: list[str]) -> str:
    unique = list(dict.fromkeys(texts))
    more = len(unique) - 3
    return ", ".join(unique[:3]) + (f" and {more} more" if more > 0 else "")
