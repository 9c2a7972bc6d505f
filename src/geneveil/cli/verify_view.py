"""Shows a verdict to people, in a terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from geneveil.verify.diagram import PHASE_TITLES
from geneveil.verify.flows import Fate, FlowKind
from geneveil.verify.rollup import KindRow, roll_up
from geneveil.verify.verdict import FlowRow, Observed, PhaseVerdict, Verdict

_STYLES = {Observed.ENCRYPTED: "green", Observed.CLEAR: "yellow", Observed.STAYED: "dim"}
_REASONS_SHOWN = 12
_BESIDE_TITLE = 53
"""The columns of the matrix besides its first, with their margins."""
_SHORT_FATES = {Fate.ENCRYPTED: "encrypted", Fate.CLEAR: "clear", Fate.STAYED: "stayed"}
_SHORT_KINDS = {
    FlowKind.POD_TO_POD: "pod → pod, other node",
    FlowKind.HOST_TO_POD: "host* → pod, other node",
    FlowKind.POD_TO_POD_SAME_NODE: "pod → pod, same node",
    FlowKind.HOST_TO_HOST: "host* → host*, other node",
    FlowKind.POD_TO_HOST: "pod → host*, other node",
}


def print_verdict(verdict: Verdict, written: Sequence[Path], *, details: bool) -> None:
    """Print the matrix of both clusters, what the captures hold, and the verdict with reasons.

    Args:
        verdict: what was decided.
        written: the reports' files.
        details: a row for each pair of nodes, and every reason.
    """
    console = Console(highlight=False)
    for phase in verdict.phases:
        # What is wider than the terminal is for it to wrap: rich would leave PASS and FAIL out.
        longest = max(len(title) for title in (*_SHORT_KINDS.values(), *_pair_titles(phase)))
        width = max(console.width, longest + _BESIDE_TITLE)
        Console(highlight=False, width=width).print(_matrix(phase, details))
        console.print(_capture_line(phase), end="\n\n", soft_wrap=True)
    console.print(Text("* host-network pod", style="dim"), soft_wrap=True)
    for remark in verdict.remarks:
        console.print(Text(f"note: {remark}", style="yellow"), soft_wrap=True)
    reports = ", ".join(str(path) for path in written)
    console.print(Text(f"reports: {reports}", style="dim"), soft_wrap=True)
    _print_reasons(console, verdict, details)
    console.print(_last_line(verdict), soft_wrap=True)


def _matrix(phase: PhaseVerdict, details: bool) -> Table:
    table = Table(
        title=PHASE_TITLES[phase.phase],
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("", no_wrap=True)
    for name in ("expected", "observed"):
        table.add_column(name, min_width=9, overflow="fold")
    for name in ("right", "frames\nclear", "frames\nESP"):
        table.add_column(name, justify="right", min_width=6)
    table.add_column("")
    for kind in roll_up(phase.flows):
        table.add_row(*_kind_cells(kind))
        for row in (r for r in phase.flows if r.kind is kind.kind):
            if details or not row.passed:
                table.add_row(*_pair_cells(row))
    return table


def _kind_cells(kind: KindRow) -> tuple[str | Text, ...]:
    return (
        _SHORT_KINDS[kind.kind],
        _SHORT_FATES[kind.expected],
        _observed(kind.observed, kind.passed),
        f"{kind.right}/{kind.total}",
        str(kind.frames_clear),
        str(kind.frames_esp),
        _mark(kind.passed),
    )


def _pair_titles(phase: PhaseVerdict) -> list[str]:
    return [_pair_title(row) for row in phase.flows]


def _pair_title(row: FlowRow) -> str:
    same = row.source_node == row.destination_node
    return f"  {row.source_node}" + ("" if same else f" → {row.destination_node}")


def _pair_cells(row: FlowRow) -> tuple[str | Text, ...]:
    right = sum(o.passed for o in row.observations)
    return (
        Text(_pair_title(row), style="dim" if row.passed else "red"),
        "",
        _observed(row.observed, row.passed),
        f"{right}/{len(row.observations)}",
        str(row.frames_clear),
        str(row.frames_esp),
        _mark(row.passed),
    )


def _observed(observed: Observed, passed: bool) -> Text:
    text = "stayed" if observed is Observed.STAYED else observed.value
    return Text(text, style=_STYLES.get(observed, "red") if passed else "red")


def _mark(passed: bool) -> Text:
    return Text("pass", style="green") if passed else Text("FAIL", style="bold red")


def _capture_line(phase: PhaseVerdict) -> Text:
    counts = phase.capture.counts
    esp = counts.esp + counts.esp_in_udp
    parts = [
        f"{counts.total} frames",
        f"{counts.geneve_clear} Geneve in clear",
        f"{esp} ESP, {counts.esp_decrypted} of them decrypted",
        f"{counts.ike} IKE",
        f"{phase.capture.frames_dropped} missed by the witness",
    ]
    used = [a for a in phase.associations if a.frames_decrypted]
    if used:
        ciphers = ", ".join(sorted({a.cipher for a in used}))
        modes = ", ".join(sorted({mode for a in used for mode in a.modes_seen}))
        parts.append(f"{len(used)} SAs used: {ciphers}, {modes} mode")
    return Text(f"{phase.capture.file}: {'; '.join(parts)}")


def _print_reasons(console: Console, verdict: Verdict, details: bool) -> None:
    shown = verdict.reasons if details else verdict.reasons[:_REASONS_SHOWN]
    for reason in shown:
        console.print(Text(f"  {reason.text}", style="red"), soft_wrap=True)
    if len(shown) < len(verdict.reasons):
        console.print(f"  and {len(verdict.reasons) - len(shown)} more: --details shows them")


def _last_line(verdict: Verdict) -> Text:
    if not verdict.passed:
        count = len(verdict.reasons)
        return Text(f"FAIL: {count} reason{'s' if count > 1 else ''}", style="bold red")
    observations = sum(len(row.observations) for p in verdict.phases for row in p.flows)
    return Text(
        f"PASS: all {observations} observations are as expected, and not one Geneve frame was in "
        "clear with IPsec on",
        style="bold green",
    )
