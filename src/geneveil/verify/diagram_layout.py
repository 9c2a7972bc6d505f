"""Where everything in the diagram of flows goes. Numbers only; `diagram` draws them.

    +--- node1 ---+   +--- node2 ---+      Nodes are boxes with two lifelines each, pods and
    |  pods  host |   |  pods  host |      host-network pods. A flow is an arrow from the
    |   |     |   |   |   |     |   |      lifeline that asks to the one that answers. What
    |   o-------------o>  |     |   |      crosses the gap between boxes crosses the wire, what
    |   o)    |   |   |   |     |   |      stays in its box stays on the node.
    +-------------+   +-------------+

Arrows that do not overlap share a line, so that eight nodes still fit a page.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from geneveil.verify.flows import CARRIERS, Carrier, FlowKind
from geneveil.verify.verdict import FlowRow, Observed, PhaseVerdict

MARGIN = 14.0
NODE_WIDTH = 150.0
GAP = 54.0
TITLE_HEIGHT = 44.0
HEAD_HEIGHT = 64.0
LINE_HEIGHT = 22.0
BAND_HEAD = 22.0
BAND_PAD = 6.0
PODS_X, HOST_X = 42.0, 112.0
LOOP_WIDTH = 26.0

# Which lifeline asks and which answers: False is pods, True is host-network pods.
_ENDS = {
    FlowKind.POD_TO_POD: (False, False),
    FlowKind.HOST_TO_POD: (True, False),
    FlowKind.POD_TO_POD_SAME_NODE: (False, False),
    FlowKind.HOST_TO_HOST: (True, True),
    FlowKind.POD_TO_HOST: (False, True),
}
_BOTH_WAYS = frozenset({FlowKind.POD_TO_POD, FlowKind.HOST_TO_HOST})


@dataclass(frozen=True)
class Arrow:
    """One flow, or two that mirror each other and were observed alike.

    Attributes:
        x1: where the asking lifeline is.
        x2: where the answering lifeline is; the same for a flow that stays on its node.
        y: the line it is on.
        rows: the flows that it stands for.
        mark_x: where its lock, or what says there is none, goes: over a gap between nodes.
    """

    x1: float
    x2: float
    y: float
    rows: tuple[FlowRow, ...]
    mark_x: float

    @property
    def both_ways(self) -> bool:
        return len(self.rows) == 2

    @property
    def observed(self) -> Observed:
        return self.rows[0].observed

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)


@dataclass(frozen=True)
class Band:
    """All arrows of one kind of flow."""

    kind: FlowKind
    y: float
    height: float
    arrows: tuple[Arrow, ...]


@dataclass(frozen=True)
class Column:
    """One node's box; `x` is its left edge."""

    x: float
    name: str
    address: str
    pods: tuple[str, ...]
    host_pods: tuple[str, ...]

    @property
    def pods_x(self) -> float:
        return self.x + PODS_X

    @property
    def host_x(self) -> float:
        return self.x + HOST_X


@dataclass(frozen=True)
class Layout:
    """One phase's diagram; all in pixels from its top left corner."""

    width: float
    height: float
    columns: tuple[Column, ...]
    bands: tuple[Band, ...]


def lay_out(phase: PhaseVerdict) -> Layout:
    """Place the nodes, and every flow that was observed."""
    columns = tuple(
        Column(
            x=MARGIN + index * (NODE_WIDTH + GAP),
            name=node.name,
            address=", ".join(node.underlay_addresses),
            pods=node.pods,
            host_pods=node.host_pods,
        )
        for index, node in enumerate(phase.nodes)
    )
    bands = []
    y = TITLE_HEIGHT + HEAD_HEIGHT
    for kind in FlowKind:
        rows = [row for row in phase.flows if row.kind is kind]
        if not rows:
            continue
        arrows, lines = _place(rows, columns, y + BAND_HEAD)
        height = BAND_HEAD + lines * LINE_HEIGHT + BAND_PAD
        bands.append(Band(kind, y, height, arrows))
        y += height
    width = 2 * MARGIN + len(columns) * NODE_WIDTH + (len(columns) - 1) * GAP
    return Layout(width, y + MARGIN, columns, tuple(bands))


def _place(
    rows: Sequence[FlowRow], columns: Sequence[Column], top: float
) -> tuple[tuple[Arrow, ...], int]:
    """Arrows of one kind, each on the first line where it overlaps none; and how many lines."""
    by_name = {column.name: column for column in columns}
    spans = sorted(
        (_span(group, by_name) for group in _groups(rows)), key=lambda s: abs(s[1] - s[0])
    )
    lines: list[list[tuple[float, float]]] = []
    arrows = []
    for x1, x2, group in spans:
        low, high = min(x1, x2), max(x1, x2)
        if CARRIERS[group[0].kind] is Carrier.NONE:
            high += LOOP_WIDTH
        line = next(
            (i for i, taken in enumerate(lines) if all(high <= a or low >= b for a, b in taken)),
            len(lines),
        )
        if line == len(lines):
            lines.append([])
        lines[line].append((low, high))
        y = top + (line + 0.5) * LINE_HEIGHT
        arrows.append(Arrow(x1, x2, y, group, _mark_x(low, high, columns)))
    return tuple(arrows), len(lines)


def _groups(rows: Iterable[FlowRow]) -> list[tuple[FlowRow, ...]]:
    """Flows of mirrored pairs together, if they may be and were observed alike."""
    waiting: dict[tuple[str, str], FlowRow] = {}
    groups: list[tuple[FlowRow, ...]] = []
    for row in rows:
        mirror = waiting.get((row.destination_node, row.source_node))
        alike = mirror is not None and (mirror.observed, mirror.passed) == (
            row.observed,
            row.passed,
        )
        if row.kind in _BOTH_WAYS and mirror is not None and alike:
            del waiting[row.destination_node, row.source_node]
            groups.append((mirror, row))
        else:
            waiting[row.source_node, row.destination_node] = row
    return groups + [(row,) for row in waiting.values()]


def _span(
    group: tuple[FlowRow, ...], columns: dict[str, Column]
) -> tuple[float, float, tuple[FlowRow, ...]]:
    row = group[0]
    asks_from_host, answers_from_host = _ENDS[row.kind]
    source, destination = columns[row.source_node], columns[row.destination_node]
    return (
        source.host_x if asks_from_host else source.pods_x,
        destination.host_x if answers_from_host else destination.pods_x,
        group,
    )


def _mark_x(low: float, high: float, columns: Sequence[Column]) -> float:
    """The gap between nodes that is nearest to the middle of an arrow; the middle if none is."""
    middle = (low + high) / 2
    gaps = [c.x + NODE_WIDTH + GAP / 2 for c in columns[:-1]]
    inside = [gap for gap in gaps if low < gap < high]
    return min(inside, key=lambda gap: abs(gap - middle), default=middle)
