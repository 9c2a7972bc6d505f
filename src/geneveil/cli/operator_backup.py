"""`geneveil operator backup` and `geneveil operator restore`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from geneveil.cli.operator_options import (
    DEFAULT_STATE_DIR,
    Output,
    OutputOption,
    StateDir,
    print_json,
)
from geneveil.model.clock import SystemClock

File = Annotated[Path, typer.Argument(metavar="FILE", readable=False, help="The backup.")]
Passphrase = Annotated[
    Path,
    typer.Option(
        "--passphrase-file", readable=False, help="Holds the passphrase that locks the backup."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "backup",
        short_help="Write all of the operator's state into one locked file.",
        epilog="Example: geneveil operator backup op.backup --passphrase-file pass.txt",
    )(backup)
    app.command(
        "restore",
        short_help="Make an operator's state of a backup.",
        epilog="Example: geneveil operator restore op.backup --passphrase-file pass.txt",
    )(restore)


def backup(
    file: File, passphrase_file: Passphrase, state_dir: StateDir = DEFAULT_STATE_DIR
) -> None:
    """Write everything that the operator needs, keys too, into one locked file.

    Works while `operator run` runs. Make one after every `operator revoke` and at every phase of a
    roll-over: what comes after a backup is not in it.
    """
    from geneveil.operator.archive.io import backup_state
    from geneveil.operator.io import read_passphrase

    passphrase = read_passphrase(passphrase_file, {}) or b""
    now = SystemClock().now()
    size = backup_state(state_dir, file, passphrase, now, os.urandom)
    typer.echo(f"{file}: {size} bytes, locked")


def restore(
    file: File,
    passphrase_file: Passphrase,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    output: OutputOption = Output.TEXT,
) -> None:
    """Make an operator's state of a backup, in a directory that holds none."""
    from geneveil.operator.archive.io import restore_state
    from geneveil.operator.io import read_passphrase

    passphrase = read_passphrase(passphrase_file, {}) or b""
    restored = restore_state(state_dir, file, passphrase, SystemClock().now())
    if output is Output.JSON:
        print_json(
            {
                "cluster": restored.cluster,
                "certificates": restored.certificates,
                "revoked": restored.revoked,
                "lastAt": restored.last_at,
                "epoch": restored.epoch,
            }
        )
        return
    typer.echo(
        f"{state_dir}: restored cluster {restored.cluster}, {restored.certificates} certificates, "
        f"{restored.revoked} of them revoked"
    )
    typer.echo(
        f"what happened after {restored.last_at} is not known: nodes that enrolled or renewed "
        "since then need a new token, and what was revoked since then must be revoked again"
    )
