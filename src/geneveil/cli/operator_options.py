"""What all commands of `geneveil operator` share: options, the open store, output."""

import json
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
    table = Table(box=box.SIMPLE_HEAD)
    for title in columns.values():
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(row[name]) or "-") for name in columns))
    console = Console()
    console.print(table) if console.is_terminal else Console(width=200).print(table)
