"""The node's files: the seal, its key and certificate, the trust bundle, the cluster's settings.

Everything is replaced atomically (written beside, synced, renamed), so that a power cut leaves the
old or the new. The directory is 0700 and every file 0600. A file that is not there is an answer;
a file that cannot be read is an error.
"""

import os
from pathlib import Path

from geneveil.agent.config import AgentConfig, parse_agent_config
from geneveil.agent.ratchet import Seal
from geneveil.model.errors import ConfigError, TrustError
from geneveil.model.shortage import remedy_for

LEAST_ROOM_BYTES = 64 * 1024
"""Key, certificate, bundle and settings take less; a long revocation list may take more."""

PRIVATE_DIRECTORY_MODE = 0o700
PRIVATE_FILE_MODE = 0o600
PUBLIC_FILE_MODE = 0o644

SEAL_TEXT = "Full\n"

KEY = "node.key"
CERTIFICATE = "node.crt"
TRUST_BUNDLE = "trust-bundle.pem"
SETTINGS = "settings.json"
SEAL = "sealed"

PENDING_KEY = "pending.key"
PENDING_REQUEST = "pending.csr"
PENDING_CERTIFICATE = "pending.crt"
REPLACED_KEY = "replaced.key"
REPLACED_CERTIFICATE = "replaced.crt"
CRLS = "crls.pem"
WATCH = "watch.json"
DROPPED = "dropped-authorities"
OPERATOR_URL = "operator.url"
SPENT_TOKEN = "spent-token"  # noqa: S105
"""A digest of the join token that the certificate was got with."""

DECOMMISSIONED = "decommissioned"
"""While it is there no agent starts, and once all of ours is gone no guard is set; its content says
since when."""

UNFINISHED = ", not finished"
"""Ends the mark's content until all of ours is gone."""


def read_agent_config(path: Path) -> AgentConfig:
    """The configuration file.

    Raises:
        ConfigError: it cannot be read or is wrong; nothing has been changed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file", remedy="write one; `mode: Disabled` is the smallest"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read", why=_reason(error)) from None
    return parse_agent_config(text, str(path))


class NotKeptError(TrustError):
    """A file of the state directory cannot be written: a full disk, a read-only one.

    It is tried again soon, not with the back-off that spares an operator.
    """

    retry_after_seconds = 2.0


class NodeStore:
    """The state directory of one node."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def prepare(self) -> None:
        """Make the directory, for its owner alone.

        Raises:
            ConfigError: it cannot be made or written.
        """
        try:
            self.directory.mkdir(mode=PRIVATE_DIRECTORY_MODE, parents=True, exist_ok=True)
            self.directory.chmod(PRIVATE_DIRECTORY_MODE)
        except OSError as error:
            raise ConfigError(
                f"cannot use the state directory {self.directory}",
                why=_reason(error),
                remedy=remedy_for(error, "run as root, on a file system that can be written"),
            ) from None

    def check_room(self) -> None:
        """Say that the disk is full before a new certificate would have to be kept on it.

        Raises:
            ConfigError: there is no room for another file, or nobody can tell.
        """
        try:
            system = os.statvfs(self.directory)
        except OSError as error:
            raise ConfigError(
                f"cannot look at the file system of {self.directory}", why=_reason(error)
            ) from None
        has_no_names = system.f_files > 0 and system.f_ffree == 0
        if system.f_bfree * system.f_frsize < LEAST_ROOM_BYTES or has_no_names:
            raise ConfigError(
                f"the file system of {self.directory} is full",
                why="no new certificate or revocation could be kept",
                remedy="free space there; what stands goes on",
            )

    def read_seal(self) -> Seal:
        """Whether this node was ever told to encrypt; see `geneveil.agent.ratchet`."""
        try:
            data = self.read(SEAL)
        except TrustError:
            return Seal.UNREADABLE
        if data is None:
            return Seal.ABSENT
        return Seal.SEALED if data == SEAL_TEXT.encode() else Seal.UNREADABLE

    def decommissioned_since(self) -> str:
        """When `geneveil node decommission` was run here; empty if it was not. A mark that cannot
        be read is no reason to stay open: it counts as none."""
        data, _unreadable = self.try_read(DECOMMISSIONED)
        return "" if data is None else data.decode("ascii", "replace").strip() or "some time ago"

    def is_decommissioned(self) -> bool:
        """Whether all of ours is gone from this node, so that it needs no guard any more."""
        since = self.decommissioned_since()
        return bool(since) and not since.endswith(UNFINISHED)

    def write_seal(self) -> None:
        """Remember for good that this node encrypts."""
        self.prepare()
        self.write(SEAL, SEAL_TEXT.encode())

    def read(self, name: str) -> bytes | None:
        """A file's content, or None when there is no such file.

        Raises:
            TrustError: it is there, or may be, but cannot be read.
        """
        try:
            return (self.directory / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TrustError(
                f"{self.directory / name} cannot be read",
                why=_reason(error),
                remedy=remedy_for(error, "give root access to it, or remove it to enrol anew"),
            ) from None

    def try_read(self, name: str) -> tuple[bytes | None, TrustError | None]:
        """As `read`, for a caller who goes on without the file: content and error apart."""
        try:
            return self.read(name), None
        except TrustError as error:
            return None, error

    def has(self, name: str) -> bool:
        """Whether there is such a file; TrustError if that cannot be told."""
        return self.read(name) is not None

    def remove(self, name: str) -> None:
        """Remove a file for good; one that is not there is no error.

        Raises:
            TrustError: it cannot be removed.
        """
        try:
            (self.directory / name).unlink(missing_ok=True)
            _sync_directory(self.directory)
        except OSError as error:
            raise TrustError(
                f"{self.directory / name} cannot be removed", why=_reason(error)
            ) from None

    def link(self, name: str, other: str) -> None:
        """Give a file another name, in the place of whatever had that: for keys, of which no copy
        shall be made that nobody destroys.

        Raises:
            NotKeptError: it cannot be done; both names are as they were.
        """
        beside = self.directory / f".{other}.new"
        try:
            beside.unlink(missing_ok=True)
            os.link(self.directory / name, beside)
            beside.replace(self.directory / other)
            beside.unlink(missing_ok=True)  # rename(2) leaves it where both were one file already
            _sync_directory(self.directory)
        except OSError as error:
            raise NotKeptError(
                f"{self.directory / name} cannot be renamed to {other}",
                why=_reason(error),
                remedy=remedy_for(error, "let root write there"),
            ) from None

    def destroy(self, name: str) -> None:
        """Overwrite a file's bytes, then remove it: for keys. One that has another name is still
        needed under that: it loses this one. What a file system or a disk keeps of older blocks is
        out of reach.

        Raises:
            TrustError: it cannot be removed.
        """
        path = self.directory / name
        try:
            with path.open("r+b") as file:
                found = os.fstat(file.fileno())
                if found.st_nlink == 1:
                    file.write(bytes(found.st_size))
                    file.flush()
                    os.fsync(file.fileno())
        except FileNotFoundError:
            return
        except OSError as error:
            raise TrustError(f"{path} cannot be destroyed", why=_reason(error)) from None
        self.remove(name)

    def write(self, name: str, data: bytes) -> None:
        """Replace a file atomically, readable by its owner alone.

        Raises:
            NotKeptError: it cannot be written; the old content still stands.
        """
        try:
            write_atomically(self.directory / name, data, PRIVATE_FILE_MODE)
        except OSError as error:
            raise NotKeptError(
                f"{self.directory / name} cannot be written",
                why=_reason(error),
                remedy=remedy_for(error, "let root write there"),
            ) from None


def write_atomically(path: Path, data: bytes, mode: int, *, durable: bool = True) -> None:
    """Write beside, sync, rename: readers see the old content or the new, never a part.

    Args:
        durable: also survive a power cut; not needed in /run.
    """
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
