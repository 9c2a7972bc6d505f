"""Takes a backup of a state directory, running or not, and makes a state directory of one.

A restored operator begins a new epoch: generations and CRL numbers go on far above those that
nodes may have seen since the backup (`trust_tables.RESTORE_STEP`), and its serial numbers are
random, so none comes again. It knows every revocation made before the backup. It does not know
what came after: nodes that enrolled or renewed since need a new token, and what was revoked since
must be revoked again; `restore_state` says from when.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from geneveil.model.errors import ConfigError, RefusedError, TrustError
from geneveil.operator.audit import TIME_FORMAT, AuditEvent, Event, check_chain
from geneveil.operator.backup import BackupContent, decode_backup, encode_backup
from geneveil.operator.io import (
    CLUSTER_DIR,
    DATABASE,
    UNFINISHED,
    key_name,
    locked,
    open_store,
    path_exists,
    remove_unfinished,
)
from geneveil.operator.private_file.io import sync_directory, write_private
from geneveil.operator.registry import read_cluster
from geneveil.operator.store import Store
from geneveil.operator.trust_tables import TrustTables
from geneveil.pki.envelope import NONCE_BYTES, SALT_BYTES


@dataclass(frozen=True)
class Restored:
    """What came back.

    Attributes:
        last_at: the time of the last entry of the log in the backup; what came later is not known.
    """

    cluster: str
    certificates: int
    revoked: int
    last_at: str
    epoch: int


def backup_state(
    state_dir: Path, target: Path, passphrase: bytes, now: datetime, draw: Callable[[int], bytes]
) -> int:
    """Write a backup; a file that is there already is not touched. Says how many bytes it has.

    Raises:
        ConfigError: the target exists or can't be written.
        TrustError: a key is missing.
    """
    if path_exists(target):
        raise ConfigError(f"{target} exists already", remedy="choose another name")
    store = open_store(state_dir)
    try:
        with store.transaction():
            event = AuditEvent(Event.BACKED_UP, detail=f"to {target.name!a}")
            store.append_audit(event, now)
        content = _read_content(state_dir, store)
    finally:
        store.close()
    data = encode_backup(content, passphrase, draw(SALT_BYTES + NONCE_BYTES))
    fresh = target.with_name(f".{target.name}.fresh")
    try:
        fresh.unlink(missing_ok=True)
        write_private(fresh, data)
        os.link(fresh, target)  # unlike a rename, never over a file that came in between
        fresh.unlink()
        sync_directory(target.absolute().parent)
    except OSError as error:
        raise ConfigError(f"{target} can't be written", why=error.strerror or "") from None
    return len(data)


def restore_state(state_dir: Path, source: Path, passphrase: bytes, now: datetime) -> Restored:
    """Make a state directory of a backup: whole, or not at all.

    Raises:
        RefusedError: `state-exists`, there is an operator here already.
        ConfigError: the backup can't be read, or the directory not be written.
        TrustError: the backup is none, was changed, or has another passphrase.
    """
    try:
        data = source.read_bytes()
    except OSError as error:
        raise ConfigError(f"{source} can't be read", why=error.strerror or "") from None
    content = decode_backup(data, passphrase, str(source))
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(state_dir, "another command is making a state here"):
            remove_unfinished(state_dir)
            if path_exists(state_dir / CLUSTER_DIR):
                raise RefusedError(
                    "state-exists",
                    f"{state_dir} holds an operator already",
                    remedy="restore into another directory, or move this one away",
                )
            return _place(state_dir, content, now, source)
    except OSError as error:
        raise ConfigError(
            f"{state_dir} can't hold the operator's state", why=error.strerror or ""
        ) from None


def _read_content(state_dir: Path, store: Store) -> BackupContent:
    """Database and keys as they are together: meanwhile no roll-over makes or drops one.

    Raises:
        TrustError: a key can't be read.
    """
    holder = open_store(state_dir)  # SQLite copies nothing for whoever may write
    try:
        with holder.transaction():
            database = store.snapshot()
            names = [key_name(record.authority_id) for record in read_cluster(store).authorities]
            keys = tuple((name, (state_dir / CLUSTER_DIR / name).read_bytes()) for name in names)
    except OSError as error:
        raise TrustError(
            "an authority's key can't be read", why=f"{error.filename}: {error.strerror}"
        ) from None
    finally:
        holder.close()
    return BackupContent(database, keys)


def _place(state_dir: Path, content: BackupContent, now: datetime, source: Path) -> Restored:
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=state_dir))
    try:
        write_private(unfinished / DATABASE, content.database)
        for name, key in content.keys:
            write_private(unfinished / name, key)
        restored = _begin_epoch(unfinished / DATABASE, now, source)
        sync_directory(unfinished)
        unfinished.rename(state_dir / CLUSTER_DIR)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    sync_directory(state_dir)
    return restored


def _begin_epoch(path: Path, now: datetime, source: Path) -> Restored:
    store = Store(path)
    try:
        records, entries = store.read_certificates(), store.read_audit()
        problems = check_chain(entries, (record.serial for record in records))
        if problems:
            raise TrustError("the log in the backup is not whole", why="; ".join(problems[:3]))
        cluster, tables = read_cluster(store), TrustTables(store)
        with store.transaction():
            tables.begin_epoch()
            epoch = tables.read().epoch
            detail = f"from {source.name!a}, epoch {epoch}"
            store.append_audit(AuditEvent(Event.RESTORED, detail=detail), now)
        return Restored(
            cluster=cluster.settings.name,
            certificates=len(records),
            revoked=sum(record.revoked_at is not None for record in records),
            last_at=entries[-1].at if entries else now.strftime(TIME_FORMAT),
            epoch=epoch,
        )
    finally:
        store.close()
