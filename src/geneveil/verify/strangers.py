"""Asks whether the evidence names everybody who took part, and everything that was on the wire.

A node that the evidence leaves out has no square in the matrix, so no probe of it can fail. But
it can't be left out of the captures: its ESP, IKE and Geneve are there, its marks are, and its
SAs are in its peers' kernels.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from geneveil.verify.evidence import PhaseEvidence
from geneveil.verify.findings import Findings
from geneveil.verify.flows import Phase
from geneveil.verify.packet import address_text, pack_address
from geneveil.verify.traffic import Traffic
from geneveil.verify.verdict import Reason, ReasonCode

T = TypeVar("T")

_LISTED = 3


def check_strangers(phase: PhaseEvidence, findings: Findings) -> Iterator[Reason]:
    """Every sign of a node, a probe or a carrier that the evidence does not account for.

    Nodes must be accounted for in both clusters. Marks and unexpected carriers count with IPsec
    on only: the control is there to show that the witness sees, and it does.
    """
    yield from _check_listed(phase, findings)
    if phase.phase is not Phase.ENABLED:
        return
    strays = findings.counts.stray_marks
    if strays:
        yield Reason(
            ReasonCode.STRAY_MARKS,
            phase.phase,
            f"{phase.capture_file}: {strays} frame{_s(strays)} with a mark that is none of this "
            "phase's probes': something was sent that the evidence leaves out",
        )
    if findings.unexpected:
        yield Reason(
            ReasonCode.UNEXPECTED_TRAFFIC,
            phase.phase,
            f"{phase.capture_file}: holds what could carry anything: "
            f"{_some(findings.unexpected, _text)}",
        )


def _check_listed(phase: PhaseEvidence, findings: Findings) -> Iterator[Reason]:
    known = {pack_address(a) for node in phase.nodes for a in node.underlay_addresses}
    names = {node.name for node in phase.nodes}
    strange = tuple(t for t in findings.tunnels if not {t.source, t.destination} <= known)
    if strange:
        yield Reason(
            ReasonCode.UNLISTED_NODE,
            phase.phase,
            f"{phase.capture_file}: {_some(strange, _text)}: not both are listed nodes' addresses",
        )
    owned = (
        sa
        for sa in phase.sa_keys
        if sa.node not in names
        or not {pack_address(sa.source), pack_address(sa.destination)} <= known
    )
    texts = dict.fromkeys(f"{sa.source} to {sa.destination} of {sa.node}" for sa in owned)
    if texts:
        yield Reason(
            ReasonCode.UNLISTED_NODE,
            phase.phase,
            f"{phase.phase.value}: SAs of or with nodes that are not listed: "
            f"{_some(tuple(texts), str)}",
        )


def _text(traffic: Traffic) -> str:
    where = ""
    if traffic.source:
        where = f" from {address_text(traffic.source)} to {address_text(traffic.destination)}"
    return (
        f"{traffic.what}{where} ({traffic.frames} frame{_s(traffic.frames)}, "
        f"first {traffic.first_frame})"
    )


def _some(items: Sequence[T], text: Callable[[T], str]) -> str:
    more = len(items) - _LISTED
    listed = "; ".join(text(item) for item in items[:_LISTED])
    return listed + (f"; and {more} more" if more > 0 else "")


def _s(count: int) -> str:
    return "" if count == 1 else "s"
