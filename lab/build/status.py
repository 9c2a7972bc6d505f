"""Shows what is built and what is missing."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict

from lab.build.artifacts import State
from lab.build.cache import default_root
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
    for column in ("artifact", "state", "built (UTC)", "took"):
        table.add_column(column, no_wrap=True)
    table.add_column("what", overflow="fold")
    for state in states:
        there = bool(state.built)
        table.add_row(
            state.title,
            "[green]built[/]" if there else "[yellow]missing[/]",
            state.built[:16].replace("T", " "),
            clock(state.seconds) if there else "",
            _what(state),
        )
    console = Console()
    console.print(table)
    console.print(f"in {default_root()}", highlight=False, markup=False, soft_wrap=True)


def _what(state: State) -> str:
    """What people ask for first."""
    facts = state.facts
    if state.kind == "kernel":
        return f"Linux {facts['version']}" if "version" in facts else ""
    if state.kind == "rootfs":
        shown = {
            "Open vSwitch": "openvswitch-switch",
            "OVN": "ovn-host",
            "strongSwan": "charon-systemd",
        }
        return ", ".join(f"{name} {facts[shown[name]]}" for name in shown if shown[name] in facts)
    if state.kind == "site":
        return f"{len(facts)} packages" if facts else ""
    if state.kind in ("kubernetes", "helm"):
        return ", ".join(f"{name} {version}" for name, version in facts.items())
    return f"{facts['files']} files" if "files" in facts else ""
