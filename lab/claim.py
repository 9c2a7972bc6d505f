"""Whose a lab's name and folders are: a lock while it lives, a mark on what it may clear.

A lab's name is taken before anything of it is written. The lock is on `lock` in the run folder; the
supervisor inherits it and holds it for as long as the lab lives. Only who holds it may change what
is in the run folder. A data folder is anywhere that a person says, and may be a slip of the finger:
only one that bears our mark, or is empty, is ever cleared.

Locks are of the open file description (fcntl_locking(2)), because those can be asked about without
being taken: asking never stands in the way of a lab that starts at that moment.
"""

import fcntl
import os
import shutil
import struct
from pathlib import Path

from geneveil.model.errors import ConfigError
from lab.errors import LabError
from lab.spec import parse_spec

SPEC_FILE = "spec.json"
DESCRIPTION_FILE = "lab.json"
LOCK_FILE = "lock"
MARK_FILE = ".geneveil-lab"
_MARK = (
    "A lab of geneveil keeps its disks, logs and capture here; the next of that name clears it.\n"
)
# struct flock: type, whence, start, length, process. Length 0 is the whole file.
_FLOCK = "hhqqi4x"


def run_folder(name: str) -> Path:
    """Where a lab's sockets are.

    Raises:
        ConfigError: a name that is no plain word, or that would make a socket's path too long.
    """
    if not name or not all(c.isalnum() or c in "-_" for c in name) or len(name) > 24:
        raise ConfigError(
            f"--name {name!r}: not a lab's name",
            remedy="use up to 24 letters, digits, - and _",
        )
    if os.geteuid() == 0:
        base = Path("/run/geneveil-lab")
    else:
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/{os.getuid()}") / "geneveil-lab"  # noqa: S108
    return base / name


def labs() -> list[str]:
    """Names of all labs that have a run folder, running or left over."""
    base = run_folder("x").parent
    return sorted(path.parent.name for path in base.glob(f"*/{DESCRIPTION_FILE}"))


def is_up(name: str) -> bool:
    """True while somebody holds the lab's lock: its supervisor, or who is starting it."""
    return _is_locked(run_folder(name) / LOCK_FILE)


def refuse_if_up(name: str) -> None:
    """A second lab of the same name is refused.

    Raises:
        ConfigError: one is up, or the name is no name.
    """
    if is_up(name):
        raise _taken(name)


def take_name(name: str) -> int:
    """Take a lab's name; it is given up when the last copy of the descriptor is closed.

    Raises:
        ConfigError: a lab of that name is up or starting.
        LabError: the run folder can't be made.
    """
    path = run_folder(name) / LOCK_FILE
    try:
        handle = take_lock(path)
    except OSError as error:
        raise LabError(f"cannot make {path}", why=error.strerror or str(error)) from error
    if handle is None:
        raise _taken(name)
    return handle


def clear_run_folder(name: str) -> bool:
    """Remove what a lab that has ended left in its run folder; False if the name is in use."""
    run_dir = run_folder(name)
    handle = take_lock(run_dir / LOCK_FILE)
    if handle is None:
        return False
    shutil.rmtree(run_dir, ignore_errors=True)
    os.close(handle)
    return True


def take_lock(path: Path) -> int | None:
    """Lock a file, made if need be, for as long as the descriptor is open; None if another has it.

    Who had it before may have removed the file: only a lock on the file that is there now counts.

    Raises:
        OSError: the file can't be made.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # the folder was removed at this moment
        try:
            fcntl.fcntl(handle, fcntl.F_OFD_SETLK, _whole_file())
        except (BlockingIOError, PermissionError):
            os.close(handle)
            return None
        if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            return handle
        os.close(handle)


def _is_locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, _whole_file())
    finally:
        os.close(handle)
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _whole_file() -> bytes:
    return struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


def _taken(name: str) -> ConfigError:
    return ConfigError(
        f"lab {name!r} is already up",
        remedy=f"`lab down --name {name}` ends it, `--name` starts another beside it",
    )


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that would have to be cleared and is not ours.

    Raises:
        ConfigError: it holds something and bears no mark of a lab, or can't be looked into.
    """
    try:
        names = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(folder, error) from error
    if names and not is_lab_folder(folder):
        raise ConfigError(
            f"{folder}: not a lab's folder, and not empty; nothing in it was changed",
            why=f"a lab would clear it, and it has no {MARK_FILE}",
            remedy="choose another --data-dir or --name, or remove the folder yourself",
        )


def is_lab_folder(folder: Path) -> bool:
    """True if a lab made this folder: by its mark, or by a description of this very folder."""
    if (folder / MARK_FILE).is_file():
        return True
    try:
        return Path(parse_spec((folder / SPEC_FILE).read_text()).data_dir) == folder
    except (OSError, ValueError, KeyError, TypeError):
        return False


def claim_folder(folder: Path) -> None:
    """Make a lab's data folder, with nothing in it but our mark.

    The mark is written first and never removed: one who is killed here leaves a folder that the
    next can tell.

    Raises:
        ConfigError: it is not ours, or can't be made or cleared.
    """
    refuse_foreign(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / MARK_FILE).write_text(_MARK)
        clear_folder(folder, MARK_FILE)
    except OSError as error:
        raise _unusable(folder, error) from error


def clear_folder(folder: Path, kept: str) -> None:
    """Remove everything in a folder but one file."""
    for path in folder.iterdir():
        if path.name == kept:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _unusable(folder: Path, error: OSError) -> ConfigError:
    where = f"{error.filename}: " if error.filename and error.filename != str(folder) else ""
    return ConfigError(
        f"{folder}: cannot be a lab's folder",
        why=where + (error.strerror or str(error)),
        remedy="choose another --data-dir",
    )
