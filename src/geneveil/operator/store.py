"""The operator's memory: SQLite, write-ahead log, every commit on the disk before it returns.

One `Store` is used by one thread. Several processes may have the same file open: `operator token`
writes while `operator run` serves. A failed read is an error, never an empty result.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geneveil.model.errors import DaemonError, TrustError
from geneveil.operator.audit import GENESIS, AuditEntry, AuditEvent, chain_entry
from geneveil.operator.records import AuthorityRecord, CertificateRecord, Kind
from geneveil.operator.seal import Seal
from geneveil.operator.tables import SCHEMA_VERSION, STEPS
from geneveil.pki.tokens import TokenRecord

BUSY_TIMEOUT_SECONDS = 10.0
_RESTORE = "move the state directory away, and: geneveil operator restore, of the latest backup"

# ruff: noqa: S608 - the statements below are put together from constants of this file alone
_CERTIFICATE_FIELDS = (
    "serial, kind, chassis, authority_id, certificate_pem, key_sha256, issued_at, not_before,"
    " not_after, revoked_at, revocation_reason, csr_sha256, predecessor"
)
_TOKEN_FIELDS = (
    "identifier, secret_sha256, chassis, created_at, expires_at, csr_sha256, serial,"  # noqa: S105
    " authority_id, voided_at"
)
_AUDIT_FIELDS = "seq, at, event, reason, chassis, remote, serial, detail, previous_hash, hash"


class Store:
    """An open database.

    Args:
        path: the file; it must exist, unless `create_store` makes it.
        uri: instead of the file, for a store whose durable truth is elsewhere.
    """

    def __init__(self, path: Path, uri: str = "") -> None:
        self._path = path
        with _readable(path):
            self._db = connect(uri or f"{path.absolute().as_uri()}?mode=rw")
            if uri:
                _bring_up_to_date(self._db)
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if 0 < version < SCHEMA_VERSION:
                version = _bring_up_to_date(self._db)
        if version != SCHEMA_VERSION:
            self.close()
            raise TrustError(
                f"{path} is of another version",
                why=f"its schema is {version}, this program's is {SCHEMA_VERSION}",
            )

    def close(self) -> None:
        """Close it; what was committed stays."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and alone among writers. Durable when the outermost one ends."""
        is_inner = self._db.in_transaction
        with _readable(self._path):
            self._db.execute("SAVEPOINT inner" if is_inner else "BEGIN IMMEDIATE")
            try:
                yield
                if not is_inner:
                    self.write_through()
                self._db.execute("RELEASE inner" if is_inner else "COMMIT")
            except BaseException:
                self._roll_back(is_inner)
                raise

    def _roll_back(self, is_inner: bool) -> None:
        if not self._db.in_transaction:
            return  # a full disk makes SQLite do it by itself (lang_transaction.html, section 3)
        if is_inner:
            self._db.execute("ROLLBACK TO inner")
            self._db.execute("RELEASE inner")
        else:
            self._db.execute("ROLLBACK")

    def write_through(self) -> None:
        """What is to be durable elsewhere before an outermost transaction is believed; if it
        fails, nothing of the transaction is.
        """

    @property
    def is_in_transaction(self) -> bool:
        """A transaction is open."""
        return self._db.in_transaction

    def snapshot(self) -> bytes:
        """The whole database as one consistent file, whoever else writes; never on a disk."""
        with _readable(self._path):
            copy = sqlite3.connect(":memory:")
            try:
                self._db.backup(copy)
                return copy.serialize()
            finally:
                copy.close()

    def add_seal(self, seal: Seal, at: datetime) -> None:
        """Keep the sealed configuration; there is room for one."""
        self.write_row(
            "INSERT INTO sealed_configuration VALUES (1, ?, ?, ?)",
            (seal.canonical, seal.sha256, to_seconds(at)),
        )

    def read_seal(self) -> Seal:
        """The sealed configuration."""
        rows = self.read_rows("SELECT canonical, sha256 FROM sealed_configuration")
        if len(rows) != 1:
            raise TrustError(f"{self._path} holds no sealed configuration")
        return Seal(*rows[0])

    def add_authority(self, record: AuthorityRecord) -> None:
        """Add an authority to the trust bundle."""
        self.write_row(
            "INSERT INTO authorities VALUES (?, ?, ?, ?, NULL)",
            (
                record.authority_id,
                record.certificate_pem,
                int(record.is_signing),
                to_seconds(record.created_at),
            ),
        )

    def read_authorities(self) -> tuple[AuthorityRecord, ...]:
        """Every authority, oldest first, those that were retired too; none if IPsec is off."""
        rows = self.read_rows("SELECT * FROM authorities ORDER BY authority_id")
        return tuple(
            AuthorityRecord(number, pem, bool(is_signing), to_time(made), _maybe_time(retired))
            for number, pem, is_signing, made, retired in rows
        )

    def add_certificate(self, record: CertificateRecord) -> None:
        """Remember a certificate. A serial that exists already is an error."""
        self.write_row(
            f"INSERT INTO certificates ({_CERTIFICATE_FIELDS})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, '', ?, ?)",
            (
                record.serial,
                record.kind.value,
                record.chassis,
                record.authority_id,
                record.certificate_pem,
                record.key_sha256,
                to_seconds(record.issued_at),
                to_seconds(record.not_before),
                to_seconds(record.not_after),
                record.csr_sha256,
                record.predecessor,
            ),
        )

    def read_certificates(self) -> tuple[CertificateRecord, ...]:
        """Every certificate, in the order of issue."""
        rows = self.read_rows(f"SELECT {_CERTIFICATE_FIELDS} FROM certificates ORDER BY rowid")
        return tuple(_certificate(row) for row in rows)

    def find_certificate(self, serial: str) -> CertificateRecord | None:
        """The certificate with this serial number."""
        rows = self.read_rows(
            f"SELECT {_CERTIFICATE_FIELDS} FROM certificates WHERE serial = ?",
            (serial,),
        )
        return _certificate(rows[0]) if rows else None

    def read_serials(self) -> frozenset[str]:
        """The serial number of every certificate."""
        rows = self.read_rows("SELECT serial FROM certificates")
        return frozenset(str(row[0]) for row in rows)

    def find_certificates_of(self, chassis: str) -> tuple[CertificateRecord, ...]:
        """Every certificate of a node, in the order of issue."""
        rows = self.read_rows(
            f"SELECT {_CERTIFICATE_FIELDS} FROM certificates"
            " WHERE chassis = ? AND kind = 'node' ORDER BY rowid",
            (chassis,),
        )
        return tuple(_certificate(row) for row in rows)

    def find_key_holder(self, key_sha256: bytes, other_than: str) -> str:
        """Another chassis that has a certificate for this key, or empty."""
        rows = self.read_rows(
            "SELECT chassis FROM certificates WHERE key_sha256 = ? AND chassis != ? LIMIT 1",
            (key_sha256, other_than),
        )
        return str(rows[0][0]) if rows else ""

    def read_chassis_names(self) -> tuple[str, ...]:
        """Every chassis that has a token or a certificate."""
        rows = self.read_rows(
            "SELECT chassis FROM tokens"
            " UNION SELECT chassis FROM certificates WHERE kind = 'node' ORDER BY chassis"
        )
        return tuple(str(row[0]) for row in rows)

    def add_token(self, record: TokenRecord) -> None:
        """Remember a token."""
        self.write_row(
            f"INSERT INTO tokens ({_TOKEN_FIELDS}) VALUES (?, ?, ?, ?, ?, x'', '', ?, NULL)",
            (
                record.identifier,
                record.secret_sha256,
                record.chassis,
                to_seconds(record.created_at),
                to_seconds(record.expires_at),
                record.authority_id,
            ),
        )

    def find_token(self, identifier: str) -> TokenRecord | None:
        """The token with this identifier."""
        rows = self.read_rows(
            f"SELECT {_TOKEN_FIELDS} FROM tokens WHERE identifier = ?", (identifier,)
        )
        return _token(rows[0]) if rows else None

    def read_tokens(self) -> tuple[TokenRecord, ...]:
        """Every token, in the order of making."""
        rows = self.read_rows(f"SELECT {_TOKEN_FIELDS} FROM tokens ORDER BY rowid")
        return tuple(_token(row) for row in rows)

    def spend_token(self, identifier: str, csr_sha256: bytes, serial: str) -> None:
        """Spend a token. One that is spent already is an error: nothing is committed."""
        changed = self._db.execute(
            "UPDATE tokens SET csr_sha256 = ?, serial = ? WHERE identifier = ? AND serial = ''"
            " AND voided_at IS NULL",
            (csr_sha256, serial, identifier),
        ).rowcount
        if changed != 1:
            raise DaemonError(f"token {identifier} can't be spent", why="it is spent already")

    def append_audit(self, event: AuditEvent, at: datetime) -> AuditEntry:
        """Append to the audit log; only inside a transaction, so that the chain has one end."""
        if not self._db.in_transaction:
            raise RuntimeError("the audit log is written inside a transaction")
        rows = self.read_rows("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
        seq, previous_hash = rows[0] if rows else (0, GENESIS)
        entry = chain_entry(event, at, seq + 1, previous_hash)
        values = tuple(getattr(entry, name) for name in _AUDIT_FIELDS.split(", "))
        self.write_row(
            f"INSERT INTO audit ({_AUDIT_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values
        )
        return entry

    def read_audit(self, after_seq: int = 0) -> tuple[AuditEntry, ...]:
        """The audit log, ascending, from behind `after_seq`."""
        rows = self.read_rows(
            f"SELECT {_AUDIT_FIELDS} FROM audit WHERE seq > ? ORDER BY seq",
            (after_seq,),
        )
        return tuple(AuditEntry(*row) for row in rows)

    def read_rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a SELECT; for the classes that know a part of the tables."""
        with _readable(self._path):
            return self._db.execute(statement, values).fetchall()

    def write_row(self, statement: str, values: tuple[Any, ...]) -> int:
        """Run a statement that changes rows, and say how many it changed."""
        with _readable(self._path):
            return self._db.execute(statement, values).rowcount


def create_store(path: Path) -> Store:
    """Make a new, empty database, readable by its owner alone."""
    path.touch(mode=0o600, exist_ok=False)
    with _readable(path):
        db = connect(path.absolute().as_uri())
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA user_version = 0")
        _bring_up_to_date(db)
        db.close()
    return Store(path)


def _bring_up_to_date(db: sqlite3.Connection) -> int:
    """Take the steps that are missing, all or none; several processes may try it at once."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    for number, script in enumerate(STEPS[version:], version + 1):
        # the guard makes the script fail, and change nothing, if another process was faster
        guard = f"CREATE TABLE step_{number} (id INTEGER);"
        end = f"DROP TABLE step_{number}; PRAGMA user_version = {number}; COMMIT;"
        try:
            db.executescript(f"BEGIN IMMEDIATE; {guard} {script} {end}")
        except sqlite3.Error:
            db.execute("ROLLBACK") if db.in_transaction else None
            (now_at,) = db.execute("PRAGMA user_version").fetchone()
            if now_at < number:
                raise
    return len(STEPS)


def connect(uri: str) -> sqlite3.Connection:
    """Open a database by its URI, as this operator does."""
    db = sqlite3.connect(
        uri,
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")
    return db


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        # Of this class itself, and not of one below it, is what a damaged file gives.
        remedy = _RESTORE if type(error) is sqlite3.DatabaseError else ""
        what = f"the operator's database {path} failed"
        raise DaemonError(what, why=str(error), remedy=remedy) from error


def to_seconds(at: datetime) -> int:
    """A time as the tables hold it."""
    return int(at.timestamp())


def to_time(seconds: int) -> datetime:
    """A time that a table held."""
    return datetime.fromtimestamp(seconds, UTC)


def _maybe_time(seconds: int | None) -> datetime | None:
    return None if seconds is None else to_time(seconds)


def _certificate(row: Any) -> CertificateRecord:
    return CertificateRecord(
        serial=row[0],
        kind=Kind(row[1]),
        chassis=row[2],
        authority_id=row[3],
        certificate_pem=row[4],
        key_sha256=row[5],
        issued_at=to_time(row[6]),
        not_before=to_time(row[7]),
        not_after=to_time(row[8]),
        revoked_at=_maybe_time(row[9]),
        revocation_reason=row[10],
        csr_sha256=row[11],
        predecessor=row[12],
    )


def _token(row: Any) -> TokenRecord:
    return TokenRecord(
        identifier=row[0],
        secret_sha256=row[1],
        chassis=row[2],
        created_at=to_time(row[3]),
        expires_at=to_time(row[4]),
        csr_sha256=row[5],
        serial=row[6],
        authority_id=row[7],
        voided_at=_maybe_time(row[8]),
    )
