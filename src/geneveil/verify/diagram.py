"""Draws what was observed: one diagram for each phase, as SVG.

Nothing is drawn from what was expected. A green line with a lock was found encrypted, an amber
one was read in clear, a grey one never left its node; red is what was not as it should be.
Colours are classes, so that the page around, or the style in a file of its own, chooses them.
"""

from collections.abc import Sequence
from html import escape

from geneveil.verify.diagram_layout import (
    BAND_HEAD,
    HEAD_HEIGHT,
    LOOP_WIDTH,
    MARGIN,
    NODE_WIDTH,
    TITLE_HEIGHT,
    Arrow,
    Band,
    Column,
    Layout,
    lay_out,
)
from geneveil.verify.flows import Fate, FlowKind, Phase
from geneveil.verify.verdict import Observed, PhaseVerdict, Verdict

PHASE_TITLES = {
    Phase.DISABLED: "Installed with IPsec off (the control)",
    Phase.ENABLED: "Installed with IPsec on",
}
KIND_TITLES = {
    FlowKind.POD_TO_POD: "pod to pod on another node",
    FlowKind.HOST_TO_POD: "host-network pod to pod on another node",
    FlowKind.POD_TO_POD_SAME_NODE: "pod to pod on the same node",
    FlowKind.HOST_TO_HOST: "host-network pod to host-network pod",
    FlowKind.POD_TO_HOST: "pod to host-network pod on another node",
}
_CLASSES = {
    Observed.ENCRYPTED: "encrypted",
    Observed.CLEAR: "clear",
    Observed.STAYED: "stayed",
}
_LEGEND = (
    ("encrypted", "found in ESP, decrypted with the nodes’ keys, never in clear"),
    ("clear", "read in clear on the wire"),
    ("stayed", "delivered, and never on the wire"),
    ("wrong", "not as it should be"),
)
_LEGEND_LINE = 20.0

# One declaration for light and one for dark; the page uses the same names.
LIGHT = (
    "--paper:#ffffff;--ink:#1b2430;--dim:#5c6775;--rule:#d5dbe3;--box:#f4f6f9;--band:#eceff4;"
    "--green:#12805c;--amber:#b06a00;--grey:#7b8694;--red:#c22b2b"
)
DARK = (
    "--paper:#12171e;--ink:#e6ebf1;--dim:#9aa6b4;--rule:#323c49;--box:#1a212b;--band:#222b37;"
    "--green:#3ecf9b;--amber:#f0a93b;--grey:#8b97a6;--red:#ff6b6b"
)
SVG_STYLE = """
.flows text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
.flows text{fill:var(--ink)}
.flows .title{font-size:15px;font-weight:600}.flows .name{font-weight:600;font-size:13px}
.flows .small{font-size:10.5px;fill:var(--dim)}.flows .kind{font-size:11px;fill:var(--dim)}
.flows .complaint{font-size:10.5px;font-weight:600;fill:var(--red)}
.flows .node{fill:var(--box);stroke:var(--rule);stroke-width:1.2}
.flows .band{fill:var(--band);opacity:.55}.flows .life{stroke:var(--rule);stroke-width:1.2}
.flows .arrow{fill:none;stroke-width:2}.flows .plate{fill:var(--paper);stroke-width:1.4}
.flows .glyph{fill:none;stroke-width:1.5;stroke-linecap:round;stroke-linejoin:round}
.flows .encrypted{stroke:var(--green)}.flows .clear{stroke:var(--amber);stroke-dasharray:6 3}
.flows .stayed{stroke:var(--grey)}.flows .wrong{stroke:var(--red);stroke-width:2.6}
.flows .glyph,.flows .plate{stroke-dasharray:none}
.flows .head-encrypted{fill:var(--green)}.flows .head-clear{fill:var(--amber)}
.flows .head-stayed{fill:var(--grey)}.flows .head-wrong{fill:var(--red)}
"""


def draw_phase(phase: PhaseVerdict) -> str:
    """One phase's diagram as an `<svg>` element to stand in a page that has the style."""
    layout = lay_out(phase)
    title = PHASE_TITLES[phase.phase]
    return (
        f'<svg class="flows" role="img" aria-label="{escape(title)}: flows as observed" '
        f'viewBox="0 0 {layout.width:g} {layout.height:g}" '
        f'xmlns="http://www.w3.org/2000/svg">{_phase(phase, layout)}</svg>'
    )


def draw_standalone(verdict: Verdict) -> str:
    """Both phases and a legend as one SVG file: side by side, or one below the other if wide."""
    layouts = [lay_out(phase) for phase in verdict.phases]
    stacked = len(verdict.phases[0].nodes) > 4
    width = height = 0.0
    parts = []
    for phase, layout in zip(verdict.phases, layouts, strict=True):
        x, y = (0.0, height) if stacked else (width, 0.0)
        parts.append(f'<g transform="translate({x:g} {y:g})">{_phase(phase, layout)}</g>')
        width = max(width, layout.width) if stacked else width + layout.width
        height = height + layout.height if stacked else max(height, layout.height)
    legend_height = len(_LEGEND) * _LEGEND_LINE + MARGIN
    parts.append(f'<g transform="translate({MARGIN:g} {height:g})">{_legend()}</g>')
    return (
        f'<svg class="flows" xmlns="http://www.w3.org/2000/svg" width="{width:g}" '
        f'height="{height + legend_height:g}" viewBox="0 0 {width:g} {height + legend_height:g}">'
        f"<title>Encrypted and unencrypted flows, as observed on the wire</title>"
        f"<style>:root{{{LIGHT}}}@media (prefers-color-scheme:dark){{:root{{{DARK}}}}}"
        f"{SVG_STYLE}</style>"
        f'<rect width="100%" height="100%" style="fill:var(--paper)"/>{"".join(parts)}</svg>\n'
    )


def draw_legend() -> str:
    """The legend as an `<svg>` element."""
    height = len(_LEGEND) * _LEGEND_LINE
    return (
        f'<svg class="flows legend" viewBox="0 0 460 {height:g}" '
        f'xmlns="http://www.w3.org/2000/svg">{_legend()}</svg>'
    )


def _legend() -> str:
    parts = []
    for index, (name, text) in enumerate(_LEGEND):
        y = (index + 0.5) * _LEGEND_LINE
        parts.append(f'<path class="arrow {name}" d="M0 {y:g}H52"/>{_glyph(26, y, name)}')
        parts.append(f'<text x="64" y="{y + 4:g}">{escape(text)}</text>')
    return "".join(parts)


def _phase(phase: PhaseVerdict, layout: Layout) -> str:
    bottom = layout.height - MARGIN
    return "".join(
        (
            f'<text class="title" x="{MARGIN:g}" y="26">{escape(PHASE_TITLES[phase.phase])}</text>',
            *(_node(column, bottom) for column in layout.columns),
            *(_band(band, layout, index) for index, band in enumerate(layout.bands)),
        )
    )


def _node(column: Column, bottom: float) -> str:
    top = TITLE_HEIGHT - 4
    head = TITLE_HEIGHT + HEAD_HEIGHT - 8
    middle = column.x + NODE_WIDTH / 2
    return (
        f'<rect class="node" x="{column.x:g}" y="{top:g}" width="{NODE_WIDTH:g}" '
        f'height="{bottom - top:g}" rx="8"/>'
        f'<text class="name" x="{middle:g}" y="{top + 19:g}" text-anchor="middle">'
        f"{escape(column.name)}</text>"
        f'<text class="small" x="{middle:g}" y="{top + 33:g}" text-anchor="middle">'
        f"{escape(column.address)}</text>"
        f"{_lifeline(column.pods_x, head, bottom, 'pods', column.pods)}"
        f"{_lifeline(column.host_x, head, bottom, 'host net', column.host_pods)}"
    )


def _lifeline(x: float, top: float, bottom: float, label: str, names: Sequence[str]) -> str:
    return (
        f"<g><title>{escape(', '.join(names) or 'none probed')}</title>"
        f'<text class="small" x="{x:g}" y="{top - 3:g}" text-anchor="middle">{label}</text>'
        f'<path class="life" d="M{x:g} {top + 3:g}V{bottom - 8:g}"/></g>'
    )


def _band(band: Band, layout: Layout, index: int) -> str:
    shade = (
        f'<rect class="band" x="0" y="{band.y:g}" width="{layout.width:g}" '
        f'height="{band.height:g}"/>'
        if index % 2 == 0
        else ""
    )
    text = f"{KIND_TITLES[band.kind]}: {_summary(band)}"
    return (
        f'{shade}<text class="kind" x="{MARGIN + 6:g}" y="{band.y + BAND_HEAD - 7:g}">'
        f"{escape(text)}</text>{''.join(_arrow(arrow) for arrow in band.arrows)}"
    )


def _summary(band: Band) -> str:
    seen = {row.observed for arrow in band.arrows for row in arrow.rows}
    text = seen.pop().value if len(seen) == 1 else Observed.DIFFERING.value
    return text if all(arrow.passed for arrow in band.arrows) else f"{text} (wrong)"


def _class_of(arrow: Arrow) -> str:
    return _CLASSES.get(arrow.observed, "wrong") if arrow.passed else "wrong"


def _arrow(arrow: Arrow) -> str:
    name = _class_of(arrow)
    line = _loop(arrow, name) if arrow.x1 == arrow.x2 else _straight(arrow, name)
    pairs = "; ".join(f"{row.source_node} to {row.destination_node}" for row in arrow.rows)
    row = arrow.rows[0]
    detail = f"{pairs}: {row.observed.value}, expected {row.expected.value}"
    if row.expected is Fate.ENCRYPTED and row.ciphers:
        detail += f", {', '.join(row.ciphers)}, {', '.join(row.modes)} mode"
    return f"<g><title>{escape(detail)}</title>{line}</g>"


def _straight(arrow: Arrow, name: str) -> str:
    step = 1 if arrow.x2 > arrow.x1 else -1
    start = arrow.x1 + (7 * step if arrow.both_ways else 4 * step)
    end = arrow.x2 - 7 * step
    heads = _head(arrow.x2, arrow.y, step, name)
    heads += (
        _head(arrow.x1, arrow.y, -step, name)
        if arrow.both_ways
        else f'<circle class="head-{name}" cx="{arrow.x1:g}" cy="{arrow.y:g}" r="4"/>'
    )
    return (
        f'<path class="arrow {name}" d="M{start:g} {arrow.y:g}H{end:g}"/>{heads}'
        f"{_glyph(arrow.mark_x, arrow.y, name)}{_complaint(arrow, name)}"
    )


def _complaint(arrow: Arrow, name: str) -> str:
    """What a red line was observed to be, beside its cross."""
    if name != "wrong":
        return ""
    failing = {o.observed for row in arrow.rows for o in row.observations if not o.passed}
    text = ", ".join(sorted(observed.value for observed in failing))
    return (
        f'<text class="complaint" x="{arrow.mark_x + 13:g}" y="{arrow.y - 4:g}">'
        f"{escape(text)}</text>"
    )


def _loop(arrow: Arrow, name: str) -> str:
    """Out of the lifeline and back: a flow that stays on its node."""
    x, y = arrow.x1, arrow.y
    return (
        f'<path class="arrow {name}" d="M{x:g} {y - 6:g}h{LOOP_WIDTH - 8:g}'
        f'a6 6 0 0 1 0 12h-{LOOP_WIDTH - 16:g}"/>{_head(x, y + 6, -1, name)}'
        f'<circle class="head-{name}" cx="{x:g}" cy="{y - 6:g}" r="3.5"/>'
    )


def _head(x: float, y: float, step: int, name: str) -> str:
    return f'<path class="head-{name}" d="M{x:g} {y:g}l{-9 * step:g} -4.5v9z"/>'


def _glyph(x: float, y: float, name: str) -> str:
    """A lock, an eye, or a cross, on a round plate; what stayed on its node has none."""
    if name == "stayed":
        return ""
    plate = f'<circle class="plate {name}" cx="{x:g}" cy="{y:g}" r="9"/>'
    drawn = {
        "encrypted": f"M{x - 4:g} {y - 0.5:g}h8v5.5h-8z"
        f"M{x - 2.5:g} {y - 0.5:g}v-2.5a2.5 2.5 0 0 1 5 0v2.5",
        "clear": f"M{x - 6:g} {y:g}q6 -7 12 0q-6 7 -12 0z"
        f"M{x - 1.5:g} {y:g}a1.5 1.5 0 1 0 3 0a1.5 1.5 0 1 0 -3 0",
        "wrong": f"M{x - 3.5:g} {y - 3.5:g}l7 7m0 -7l-7 7",
    }[name]
    return f'{plate}<path class="glyph {name}" d="{drawn}"/>'
