"""Backup and restore: what is in the file, and what a kill or a roll-over in between does to it."""

import os
import sqlite3
from pathlib import Path

import pytest

from geneveil.model.errors import DaemonError
from geneveil.operator import io as operator_io
from geneveil.operator import store as operator_store
from geneveil.operator.archive.io import backup_state, restore_state
from geneveil.operator.store import Store
from geneveil.operator.trust_tables import TrustTables
from geneveil.pki.rollover import Phase
from tests.unit.test_operator_trust import NOW, make_bench

SECRET = b"correct horse"


def test_nothing_of_the_operator_is_in_a_backup_in_clear(tmp_path: Path) -> None:
    bench = make_bench(tmp_path / "state")
    node, token = bench.enrol("node-in-clear"), bench.token("node-with-token")
    target = tmp_path / "backup"
    backup_state(tmp_path / "state", target, SECRET, NOW, os.urandom)
    data, plain = target.read_bytes(), bench.store.snapshot()
    (hashed,) = (one.secret_sha256 for one in bench.store.read_tokens()[1:])
    for piece in (b"node-in-clear", node.certificate, hashed, b"CREATE TABLE", b"SQLite format"):
        assert piece in plain  # it would be seen
        assert piece not in data
    key = (tmp_path / "state" / "cluster" / "ca-1.key").read_bytes()
    assert key not in data
    assert b"PRIVATE" not in data
    assert token.secret not in data
    restore_state(tmp_path / "again", target, SECRET, NOW)
    assert (tmp_path / "again" / "cluster" / "ca-1.key").read_bytes() == key
    bench.store.close()


def test_a_restore_that_was_killed_leaves_no_key_behind(tmp_path: Path) -> None:
    make_bench(tmp_path / "state").store.close()
    target, again = tmp_path / "backup", tmp_path / "again"
    backup_state(tmp_path / "state", target, SECRET, NOW, os.urandom)
    left = again / ".unfinished-killed"
    left.mkdir(parents=True)
    (left / "ca-1.key").write_bytes(b"PRIVATE")
    os.link(left / "ca-1.key", tmp_path / "same")
    restore_state(again, target, SECRET, NOW)
    assert sorted(path.name for path in again.iterdir()) == ["cluster"]
    assert (tmp_path / "same").read_bytes() == bytes(7)


def test_a_backup_holds_the_key_of_every_authority_that_its_database_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(tmp_path / "state")
    bench.enrol("node-1")
    with bench.store.transaction():
        bench.registry.tables.request_rotation(NOW)
    bench.seconds = 100.0
    assert bench.keep() is Phase.RETIRE  # both are in the bundle
    snapshot = Store.snapshot

    def race(store: Store) -> bytes:
        data = snapshot(store)
        monkeypatch.setattr(operator_store, "BUSY_TIMEOUT_SECONDS", 0.0)
        other = operator_io.open_store(tmp_path / "state")
        try:
            with other.transaction():
                TrustTables(other).retire_authority(1, NOW)
        except DaemonError as error:
            assert isinstance(error.__cause__, sqlite3.OperationalError)  # it waits
        finally:
            other.close()
        return data

    monkeypatch.setattr(Store, "snapshot", race)
    target, again = tmp_path / "backup", tmp_path / "again"
    backup_state(tmp_path / "state", target, SECRET, NOW, os.urandom)
    restore_state(again, target, SECRET, NOW)
    names = {path.name for path in (again / "cluster").glob("ca-*.key")}
    store = operator_io.open_store(again)
    bundle = [one for one in store.read_authorities() if one.retired_at is None]
    assert names == {f"ca-{one.authority_id}.key" for one in bundle}
    store.close()
    bench.store.close()
