"""`geneveil verify`: judge captured evidence."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
