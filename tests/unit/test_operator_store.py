"""The database: what it refuses, and that a transaction is whole."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from geneveil.model.errors import DaemonError, TrustError
from geneveil.operator.audit import AuditEvent, Event, check_chain
from geneveil.operator.records import AuthorityRecord, CertificateRecord, Kind
from geneveil.operator.seal import Seal
from geneveil.operator.store import Store, create_store
from geneveil.pki.tokens import TokenRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = TokenRecord("0123456789abcdef", bytes(32), "node-1", NOW, NOW + timedelta(hours=1))
CERTIFICATE = CertificateRecord(
    serial="01" * 20,
    kind=Kind.NODE,
    chassis="node-1",
    authority_id=1,
    certificate_pem=b"pem",
    key_sha256=b"key",
    issued_at=NOW,
    not_before=NOW,
    not_after=NOW + timedelta(days=1),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = create_store(tmp_path / "operator.db")
    opened.add_authority(AuthorityRecord(1, b"pem", True, NOW))
    yield opened
    opened.close()


def test_what_is_written_is_read_again(store: Store) -> None:
    store.add_token(TOKEN)
    store.add_certificate(CERTIFICATE)
    assert store.find_token(TOKEN.identifier) == TOKEN
    assert store.find_token("ffffffffffffffff") is None
    assert store.read_tokens() == (TOKEN,)
    assert store.find_certificate(CERTIFICATE.serial) == CERTIFICATE
    assert store.read_certificates() == (CERTIFICATE,)
    assert store.read_authorities() == (AuthorityRecord(1, b"pem", True, NOW),)
    assert store.read_chassis_names() == ("node-1",)
    assert store.find_key_holder(b"key", "node-2") == "node-1"
    assert store.find_key_holder(b"key", "node-1") == ""


def test_it_is_durable_and_private(store: Store, tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "operator.db")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert (tmp_path / "operator.db").stat().st_mode & 0o777 == 0o600


def test_a_serial_exists_once(store: Store) -> None:
    store.add_certificate(CERTIFICATE)
    with pytest.raises(DaemonError, match="UNIQUE"):
        store.add_certificate(replace(CERTIFICATE, chassis="node-2"))


def test_one_authority_signs(store: Store) -> None:
    with pytest.raises(DaemonError, match="UNIQUE"):
        store.add_authority(AuthorityRecord(2, b"pem", True, NOW))
    store.add_authority(AuthorityRecord(2, b"pem", False, NOW))


def test_there_is_one_seal(store: Store) -> None:
    with pytest.raises(TrustError, match="no sealed configuration"):
        store.read_seal()
    store.add_seal(Seal("{}", "00"), NOW)
    with pytest.raises(DaemonError, match="UNIQUE"):
        store.add_seal(Seal("{}", "00"), NOW)


def test_a_token_is_spent_once(store: Store) -> None:
    store.add_token(TOKEN)
    store.spend_token(TOKEN.identifier, b"csr", "01")
    with pytest.raises(DaemonError, match="spent"):
        store.spend_token(TOKEN.identifier, b"csr", "02")


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.transaction():
        store.add_token(TOKEN)
        store.append_audit(AuditEvent(Event.TOKEN_MADE), NOW)
        raise KeyboardInterrupt
    assert store.read_tokens() == ()
    assert store.read_audit() == ()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET detail = 'x'",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE seq = 2",
        "INSERT OR REPLACE INTO audit SELECT seq, at, 'x', reason, chassis, remote, serial, detail,"
        " previous_hash, 'x' FROM audit WHERE seq = 1",
        "INSERT OR REPLACE INTO audit SELECT 9, at, 'x', reason, chassis, remote, serial, detail,"
        " previous_hash, hash FROM audit WHERE seq = 1",
    ],
)
def test_the_audit_log_is_append_only(store: Store, tmp_path: Path, statement: str) -> None:
    for number in range(3):
        with store.transaction():
            store.append_audit(AuditEvent(Event.ISSUED, chassis=f"node-{number}"), NOW)
    before = store.read_audit()
    other = sqlite3.connect(tmp_path / "operator.db")
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        other.execute(statement)
    other.close()
    assert store.read_audit() == before
    assert check_chain(before, []) == ()
    assert store.read_audit(after_seq=2) == before[2:]


def test_the_audit_log_is_written_in_transactions(store: Store) -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        store.append_audit(AuditEvent(Event.ISSUED), NOW)


def test_two_processes_write_in_turn(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "operator.db")
    for writer in (store, other, store):
        with writer.transaction():
            writer.append_audit(AuditEvent(Event.ISSUED), NOW)
    assert [entry.seq for entry in other.read_audit()] == [1, 2, 3]
    other.close()


def test_no_file_and_no_database_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DaemonError):
        Store(tmp_path / "missing.db")
    (tmp_path / "text.db").write_text("this is no database, however long it may be" * 10)
    with pytest.raises(DaemonError):
        Store(tmp_path / "text.db")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE x (y)").connection.close()
    with pytest.raises(TrustError, match="another version"):
        Store(tmp_path / "other.db")


def test_a_damaged_database_is_to_be_restored(tmp_path: Path) -> None:
    path = tmp_path / "operator.db"
    path.write_bytes(b"no database at all, and long enough to be taken for one" * 100)
    with pytest.raises(DaemonError, match="file is not a database") as caught:
        Store(path)
    assert "operator restore" in caught.value.remedy
