"""What all commands of `geneveil operator` share: options, the open store, output."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from geneveil.operator.store import Store


class Output(Enum):
    """For people or for machines."""

    TEXT = "text"
    JSON = "json"


StateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        envvar="GENEVEIL_OPERATOR_STATE",
        readable=False,
        help="Where the operator keeps its state.",
    ),
]
OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="A table for people, JSON for machines.")
]
CaPassphrase = Annotated[
    Path | None,
    typer.Option(
        "--ca-passphrase-file",
        readable=False,
        help="Locks the authority's key at rest. Else the systemd credential ca-passphrase, if "
        "there is one.",
    ),
]
DEFAULT_STATE_DIR = Path("/var/lib/geneveil-operator")
_TIME = re.compile(r"\b(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\dZ)")
_WIDEST_WORD = 20
_WIDTH_OF_A_FILE = 200
_BETWEEN = 2  # columns, a space and the rule's own


@contextmanager
def opened(state_dir: Path) -> "Iterator[Store]":
    """The store of an initialised operator."""
    from geneveil.operator.io import open_store

    store = open_store(state_dir)
    try:
        yield store
    finally:
        store.close()


def print_json(document: Any) -> None:
    """For machines."""
    typer.echo(json.dumps(document, indent=2))


def print_table(rows: list[dict[str, Any]], columns: dict[str, str], nothing: str) -> None:
    """For people: columns are field -> title; `nothing` is said when there are no rows."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo(nothing)
        return
    console = Console()
    lines = [list(columns.values()), *([shown(row[name]) for name in columns] for row in rows)]
    widths = fit_widths(lines, console.width if console.is_terminal else _WIDTH_OF_A_FILE)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title, width in zip(lines[0], widths, strict=True):
        table.add_column(title, overflow="fold", width=width)
    for cells in lines[1:]:
        table.add_row(*map(Text, cells))
    # What is wider than the terminal is for it to wrap: rich would cut it off.
    Console(width=sum(widths) + _BETWEEN * len(widths) + 1).print(table)


def fit_widths(lines: list[list[str]], room: int) -> list[int]:
    """How wide each column is, so that cells are folded at spaces, and no more than `room` asks.

    Only a word longer than 20 characters, such as a hash, is cut in two. Pure.
    """
    by_column = [list(cells) for cells in zip(*lines, strict=True)]
    widths = [max(map(len, cells)) for cells in by_column]
    least = [
        min(max(len(word) for cell in cells for word in cell.split()), _WIDEST_WORD)
        for cells in by_column
    ]
    while sum(widths) + _BETWEEN * len(widths) + 1 > room:
        spare, at = max((w, i) if w > least[i] else (0, i) for i, w in enumerate(widths))
        if not spare:
            break
        widths[at] -= 1
    return widths


def shown(value: object) -> str:
    """A value as people write it; a time in two words, as in `geneveil status`. What a terminal
    would obey is not: a request that was refused may have brought it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "" if value is None else str(value)
    text = "".join(char if char.isprintable() else "?" for char in text)
    return _TIME.sub(r"\1 \2", text) or "-"
