"""Writes files that hold secrets, and destroys them.

A file is replaced by one that was whole and durable beside it before. A key that is destroyed is
overwritten where it lies: that leaves nothing on a disk that writes in place. One that writes
elsewhere (flash, copy-on-write, a snapshot) may keep the old bytes; a passphrase helps there.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geneveil.model.errors import DaemonError


def write_private(path: Path, data: bytes) -> None:
    """Make a file that only its owner can read; durable. It must not exist."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def stage_private(path: Path, data: bytes) -> None:
    """Put what is to take a file's place beside it; what a killed attempt left is destroyed."""
    destroy_private(_fresh(path))
    write_private(_fresh(path), data)


def place_private(path: Path) -> None:
    """Let what was staged take the file's place, at once."""
    _fresh(path).replace(path)
    sync_directory(path.parent)


def destroy_private(path: Path) -> None:
    """Overwrite a file and remove it; one that is gone is no error."""
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "wb") as file:
        file.write(bytes(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())
    path.unlink()
    sync_directory(path.parent)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """A running operator writes this file.

    Raises:
        DaemonError: it can't.
    """
    try:
        yield
    except OSError as error:
        raise DaemonError(
            f"{path} can't be written",
            why=error.strerror or type(error).__name__,
            remedy="the operator goes on with what it has and tries again each second; make room "
            "on the disk, or let it write there",
        ) from None


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fresh(path: Path) -> Path:
    return path.with_name(f"{path.name}.fresh")
