"""What every benchmark does with its figures: a table for people, JSON for machines, and a page.

A benchmark measures the same for several numbers of nodes; a `Figure` is one row of its table.
"""

import argparse
import html
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.chart import Chart, draw

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """One thing that was measured.

    Attributes:
        read: takes it from a result; a number.
        is_drawn: it has a chart over the number of nodes.
    """

    title: str
    read: Callable[[Result], Any]
    is_drawn: bool = False


def latency_figures(latencies_seconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th of a hundred."""
    ordered = sorted(latencies_seconds)
    return {
        "latencyMedianSeconds": round(ordered[len(ordered) // 2], 3),
        "latency99Seconds": round(ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)], 3),
    }


def parse_arguments(description: str, nodes: Sequence[int]) -> argparse.Namespace:
    """`nodes` and `out`, from the command line.

    Args:
        nodes: how many, where the command line does not say.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--nodes", type=_count, nargs="+", default=list(nodes), metavar="N")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), metavar="FOLDER")
    return parser.parse_args()


def run(work: Callable[[], None]) -> None:
    """Run a benchmark's `main`; Ctrl-C ends it with everything that it started."""
    try:
        work()
    except KeyboardInterrupt:
        print("stopped; nothing of it runs any more", file=sys.stderr)
        sys.exit(130)


def publish(
    out: Path, name: str, figures: Sequence[Figure], results: Sequence[Result], **more: Any
) -> None:
    """Print the table, and write `NAME.json` and `NAME.html`."""
    out.mkdir(parents=True, exist_ok=True)
    document = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}",
        "python": platform.python_version(),
        "results": list(results),
        **more,
    }
    (out / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
    (out / f"{name}.html").write_text(page(name, figures, document))
    _print(figures, results)
    print(f"{out / name}.json and .html have all of it")


def page(name: str, figures: Sequence[Figure], document: Result) -> str:
    """One file that needs nothing else: the table, and charts over the number of nodes."""
    results = document["results"]
    nodes = [int(one["nodes"]) for one in results]
    head = "".join(f"<th>{count:,}</th>" for count in nodes)
    rows = "".join(
        f"<tr><th>{html.escape(figure.title)}</th>"
        + "".join(f"<td>{figure.read(one)}</td>" for one in results)
        + "</tr>"
        for figure in figures
        if figure.title != "nodes"
    )
    charts = "".join(
        draw(Chart(figure.title, nodes, [float(figure.read(one)) for one in results]))
        for figure in figures
        if figure.is_drawn
    )
    where = html.escape(f"{document['at']}, {document['machine']}, Python {document['python']}")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(name)}</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(name)}</h1><p>{where}</p>"
        f"<table><tr><th>nodes</th>{head}</tr>{rows}</table><div>{charts}</div></html>\n"
    )


_STYLE = (
    "body{font:14px sans-serif;margin:2em;color:#222}table{border-collapse:collapse}"
    "th,td{padding:.3em .8em;border-bottom:1px solid #ddd;text-align:right}"
    "th:first-child{text-align:left;font-weight:normal}div{margin-top:1em}svg{margin:.5em}"
)


def _print(figures: Sequence[Figure], results: Sequence[Result]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for figure in figures:
        table.add_column(figure.title, justify="right")
    for one in results:
        table.add_row(*(str(figure.read(one)) for figure in figures))
    Console(width=140).print(table)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of nodes")
    return int(text)
