"""The operator's database: its tables, as SQLite understands them.

Times are whole seconds since 1970 (UTC) in every table but `audit`, whose rows are hashed as the
text that they hold. Certificates are never deleted; a token is spent by an UPDATE that only an
unspent token takes.
"""

SCHEMA_VERSION = 1

SCHEMA = """
CREATE TABLE sealed_configuration (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    canonical TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    sealed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE authorities (
    authority_id INTEGER PRIMARY KEY,
    certificate_pem BLOB NOT NULL,
    is_signing INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_signing_authority ON authorities (is_signing) WHERE is_signing = 1;

CREATE TABLE certificates (
    serial TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('node', 'operator')),
    chassis TEXT NOT NULL,
    authority_id INTEGER NOT NULL REFERENCES authorities (authority_id),
    certificate_pem BLOB NOT NULL,
    key_sha256 BLOB NOT NULL,
    issued_at INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    revoked_at INTEGER,
    revocation_reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX certificates_by_key ON certificates (key_sha256);
CREATE INDEX certificates_by_chassis ON certificates (chassis);

CREATE TABLE tokens (
    identifier TEXT PRIMARY KEY,
    secret_sha256 BLOB NOT NULL,
    chassis TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    csr_sha256 BLOB NOT NULL DEFAULT x'',
    serial TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX tokens_by_chassis ON tokens (chassis);

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    event TEXT NOT NULL,
    reason TEXT NOT NULL,
    chassis TEXT NOT NULL,
    remote TEXT NOT NULL,
    serial TEXT NOT NULL,
    detail TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE
) STRICT;
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
-- INSERT OR REPLACE deletes without asking the trigger above
CREATE TRIGGER audit_is_never_replaced BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq OR hash = NEW.hash)
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
"""
