"""Commands of a node: agent, status, guard."""

import typer


def register(app: typer.Typer) -> None:
    """Add the node's commands."""
