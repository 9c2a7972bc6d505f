"""Shows what is built and what is missing."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict

from lab.build.artifacts import State
from lab.build.progress import clock


def show_json(states: Iterable[State]) -> None:
    """One JSON list on standard output, one object for each artifact."""
    rows = [{**asdict(state), "folder": str(state.folder)} for state in states]
    sys.stdout.write(json.dumps(rows, indent=1) + "\n")


def show_table(states: Iterable[State]) -> None:
    """A table on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for column in ("artifact", "state", "built", "took", "of", "folder"):
        table.add_column(column, overflow="fold")
    for state in states:
        there = bool(state.built)
        table.add_row(
            state.title,
            "[green]built[/]" if there else "[yellow]missing[/]",
            state.built,
            clock(state.seconds) if there else "",
            _of(state),
            str(state.folder) if there else "",
        )
    Console().print(table)


def _of(state: State) -> str:
    """The one fact that people ask for."""
    facts = state.facts
    if state.kind == "kernel":
        return facts.get("package", "")
    if state.kind == "rootfs":
        return ", ".join(
            f"{name} {facts[name]}" for name in ("ovn-host", "charon-systemd") if name in facts
        )
    if state.kind == "site":
        return f"{len(facts)} packages" if facts else ""
    return f"{facts['files']} files" if "files" in facts else ""
