"""A small chart as SVG: one value for each number of nodes. Pure."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 320, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 24, 24, 44, 28
_BAR = 0.6


@dataclass(frozen=True)
class Chart:
    """What is drawn.

    Attributes:
        nodes: for how many nodes it was measured; names of the bars.
        values: none below 0.
    """

    title: str
    nodes: Sequence[int]
    values: Sequence[float]


def draw(chart: Chart) -> str:
    """Bars from 0 on, so that a cost a node that does not grow is seen as one height."""
    most = max([*chart.values, 0.0]) or 1.0
    each = (WIDTH - _LEFT - _RIGHT) / max(len(chart.values), 1)
    ground = HEIGHT - _BOTTOM
    parts = [_text(WIDTH / 2, 18, chart.title, 13)]
    for number, (count, value) in enumerate(zip(chart.nodes, chart.values, strict=True)):
        height = (ground - _TOP) * value / most
        left = _LEFT + each * (number + (1 - _BAR) / 2)
        middle = left + each * _BAR / 2
        parts += [
            f'<rect x="{left:.1f}" y="{ground - height:.1f}" width="{each * _BAR:.1f}"'
            f' height="{height:.1f}" fill="#37669c"/>',
            _text(middle, ground - height - 5, f"{value:g}", 11),
            _text(middle, ground + 16, f"{count:,}", 11),
        ]
    parts.append(
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{ground}" y2="{ground}" stroke="#222"/>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"'
        f' role="img" font-family="sans-serif">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, size: int) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="middle">'
        f"{html.escape(text)}</text>"
    )
