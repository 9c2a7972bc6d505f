"""The state directory of an operator, and everything on the disk that is not in the database.

    /var/lib/geneveil-operator/     0700
        cluster/                    made whole under another name, then renamed: there or not
            operator.db             configuration, authorities, certificates, tokens, audit log
            ca-1.key                0600; one for each authority, locked if a passphrase was given
            server.pem              0600; key and certificate of the HTTPS server, replaced at will
            clock-believed          the latest time that was believed; see clock_leap
            running.json            how the operator that runs tells who is live; see run_note

Locks are taken on the directories themselves and end with the process that holds them.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from geneveil.model.errors import ConfigError, TrustError
from geneveil.operator.cluster import authority_certificate
from geneveil.operator.config import ClusterIPsec
from geneveil.operator.private_file.io import (
    destroy_private,
    place_private,
    stage_private,
    sync_directory,
    write_private,
    written,
)
from geneveil.operator.records import AuthorityRecord
from geneveil.operator.seal import check_change, make_seal
from geneveil.operator.sealing import seal_cluster
from geneveil.operator.store import Store, create_store
from geneveil.pki.authority import (
    Authority,
)
from geneveil.pki.envelope import NONCE_BYTES, SALT_BYTES, is_sealed, open_bytes, seal_bytes
from geneveil.pki.keyfiles import NamedBytes, parse_private_key
from geneveil.pki.keys import PrivateKey, encode_key

CLUSTER_DIR = "cluster"
DATABASE = "operator.db"
SERVER_FILE = "server.pem"
CREDENTIAL = "ca-passphrase"
KEY_PURPOSE = "authority key"
UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class KeyLock:
    """Locks authorities' keys. `repr` shows no passphrase."""

    passphrase: bytes
    draw: Callable[[int], bytes]

    def __repr__(self) -> str:
        return "KeyLock(…)"


def read_config_text(path: Path) -> str:
    """Read a configuration file.

    Raises:
        ConfigError: names the file and why it can't be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} can't be read", why=error.strerror or "") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None


def init_state(
    state_dir: Path,
    config: ClusterIPsec,
    now: datetime,
    draw: Callable[[int], bytes],
    passphrase: bytes | None = None,
) -> bool:
    """Seal the configuration and, if IPsec is on, make the authority: whole or not at all.

    Args:
        passphrase: locks the authority's key; None leaves it to the file's mode.
    Returns:
        True if it was made now; False if it was there already, with the same configuration.
    Raises:
        RefusedError: another configuration was sealed before.
        ConfigError: the state directory can't be written.
    """
    is_new = not path_exists(state_dir)
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(state_dir, "another `geneveil operator init` is at work here"):
            remove_unfinished(state_dir)
            if path_exists(state_dir / CLUSTER_DIR):
                check_state(state_dir, config)
                return False
            _make_cluster(state_dir, config, now, draw, passphrase)
            return True
    except OSError as error:
        raise ConfigError(
            f"{state_dir} can't hold the operator's state", why=_os_reason(error)
        ) from None
    finally:
        if is_new:
            with suppress(OSError):
                state_dir.rmdir()  # succeeds only when nothing was made


def check_state(state_dir: Path, config: ClusterIPsec) -> bool:
    """Say whether this very configuration is sealed here already; changes nothing.

    Raises:
        RefusedError: another configuration is.
    """
    if not path_exists(state_dir / CLUSTER_DIR):
        return False
    store = open_store(state_dir)
    try:
        check_change(store.read_seal(), make_seal(config))
    finally:
        store.close()
    return True


def open_store(state_dir: Path) -> Store:
    """Open the database of an initialised operator.

    Raises:
        ConfigError: there is none, or it may not be read.
    """
    path = state_dir / CLUSTER_DIR / DATABASE
    if not path_exists(path):
        raise ConfigError(
            f"{state_dir} holds no initialised operator",
            remedy="run: geneveil operator init --config cluster.yaml; for a Kubernetes cluster's "
            "operator say --kubernetes",
        )
    return Store(path)


def read_authority(
    state_dir: Path, record: AuthorityRecord, passphrase: bytes | None = None
) -> Authority:
    """Read the key of an authority.

    Args:
        passphrase: unlocks a key that was locked at init.
    Raises:
        TrustError: unreadable, readable by others, locked, or not this authority's.
    """
    path = state_dir / CLUSTER_DIR / key_name(record.authority_id)
    try:
        if path.stat().st_mode & 0o077:
            raise TrustError(
                f"{path} can be read by others than its owner", remedy=f"chmod 600 {path}"
            )
        data = path.read_bytes()
    except OSError as error:
        raise TrustError(f"{path} can't be read", why=error.strerror or "") from None
    if is_sealed(data):
        data = open_bytes(data, _needed(passphrase, path), KEY_PURPOSE, str(path))
    key = parse_private_key(NamedBytes(str(path), data))
    certificate = authority_certificate(record)
    if certificate.public_key() != key.public_key():
        raise TrustError(f"{path} is not the key of authority {record.authority_id}")
    return Authority(certificate, key)


def write_authority_key(
    state_dir: Path, authority_id: int, key: PrivateKey, lock: KeyLock | None
) -> None:
    """Put a key that no database knows yet; what a killed attempt left is replaced.

    Raises:
        DaemonError: it can't be written.
    """
    path = state_dir / CLUSTER_DIR / key_name(authority_id)
    with written(path):
        stage_private(path, _key_bytes(key, lock))
        place_private(path)


def remove_authority_keys(state_dir: Path, authority_ids: Iterable[int]) -> None:
    """Destroy the keys of authorities that were retired; those that are gone are no error.

    Raises:
        DaemonError: one can't be destroyed.
    """
    for authority_id in authority_ids:
        path = state_dir / CLUSTER_DIR / key_name(authority_id)
        with written(path):
            destroy_private(path)


def read_passphrase(path: Path | None, environment: Mapping[str, str]) -> bytes | None:
    """The passphrase of the authority's key: from a file, or systemd's credential
    `ca-passphrase` (systemd.exec(5), LoadCredential=); None if there is neither.

    Raises:
        ConfigError: it can't be read, or is empty.
    """
    folder = environment.get("CREDENTIALS_DIRECTORY", "")
    if path is None:
        credential = Path(folder) / CREDENTIAL
        if not folder or not path_exists(credential):
            return None
        path = credential
    try:
        passphrase = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise ConfigError(f"{path} can't be read", why=error.strerror or "") from None
    if not passphrase:
        raise ConfigError(f"{path} holds no passphrase")
    return passphrase


def read_server_file(state_dir: Path) -> bytes | None:
    """The server's key and certificate, or None if there are none yet."""
    try:
        return server_path(state_dir).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TrustError(
            f"{server_path(state_dir)} can't be read", why=error.strerror or ""
        ) from None


def stage_server_file(state_dir: Path, data: bytes) -> None:
    """Put the server's next key and certificate beside the ones in use; durable.

    Raises:
        DaemonError: it can't be written.
    """
    with written(server_path(state_dir)):
        stage_private(server_path(state_dir), data)


def place_server_file(state_dir: Path) -> None:
    """Replace the server's key and certificate, at once, by those that were staged.

    Raises:
        DaemonError: they can't be replaced.
    """
    with written(server_path(state_dir)):
        place_private(server_path(state_dir))


def server_path(state_dir: Path) -> Path:
    """Where the server's key and certificate are."""
    return state_dir / CLUSTER_DIR / SERVER_FILE


@contextmanager
def running_lock(state_dir: Path) -> Iterator[None]:
    """Be the only `operator run` on this state.

    Raises:
        ConfigError: another one runs.
    """
    descriptor = os.open(state_dir / CLUSTER_DIR, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            # a command that asks `is_running` shares the lock for a moment; an operator does not
            if not _try_lock(descriptor, fcntl.LOCK_SH):
                raise ConfigError(f"an operator is running on {state_dir} already")
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        yield
    finally:
        os.close(descriptor)


def is_running(state_dir: Path) -> bool:
    """Say whether an `operator run` holds this state now; hinders none that starts."""
    descriptor = os.open(state_dir / CLUSTER_DIR, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def remove_unfinished(state_dir: Path) -> None:
    """Remove what killed commands left, keys too; under the state directory's lock."""
    for leftover in state_dir.glob(f"{UNFINISHED}*"):
        for key in leftover.glob("*.key"):
            destroy_private(key)
        shutil.rmtree(leftover)


def _make_cluster(
    state_dir: Path,
    config: ClusterIPsec,
    now: datetime,
    draw: Callable[[int], bytes],
    passphrase: bytes | None,
) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=state_dir))
    try:
        _fill_cluster(unfinished, config, now, draw, passphrase)
        sync_directory(unfinished)
        unfinished.rename(state_dir / CLUSTER_DIR)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync_directory(state_dir)


def _fill_cluster(
    directory: Path,
    config: ClusterIPsec,
    now: datetime,
    draw: Callable[[int], bytes],
    passphrase: bytes | None,
) -> None:
    lock = KeyLock(passphrase, draw) if passphrase else None
    store = create_store(directory / DATABASE)
    try:
        seal_cluster(
            store,
            config,
            now,
            draw,
            lambda number, key: write_private(directory / key_name(number), _key_bytes(key, lock)),
        )
    finally:
        store.close()


def key_name(authority_id: int) -> str:
    """The file of an authority's key."""
    return f"ca-{authority_id}.key"


def _key_bytes(key: PrivateKey, lock: KeyLock | None) -> bytes:
    plain = encode_key(key)
    if lock is None:
        return plain
    randomness = lock.draw(SALT_BYTES + NONCE_BYTES)
    return seal_bytes(plain, lock.passphrase, KEY_PURPOSE, randomness)


def _needed(passphrase: bytes | None, path: Path) -> bytes:
    if passphrase is None:
        raise TrustError(
            f"{path} is locked with a passphrase",
            remedy="give --ca-passphrase-file, or the systemd credential ca-passphrase",
        )
    return passphrase


@contextmanager
def locked(directory: Path, complaint: str) -> Iterator[None]:
    """Hold a directory alone.

    Raises:
        ConfigError: with this complaint, if another process does.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if not _try_lock(descriptor, fcntl.LOCK_EX):
            raise ConfigError(complaint)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def path_exists(path: Path) -> bool:
    """Not to be allowed to look is an error, not an absence."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConfigError(
            f"{path} may not be read", why=error.strerror or "", remedy="run as its owner"
        ) from None
    return True


def _os_reason(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else reason
