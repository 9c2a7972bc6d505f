"""The operator's database: its tables, as SQLite understands them.

Times are whole seconds since 1970 (UTC) in every table but `audit`, whose rows are hashed as the
text that they hold. Certificates are never deleted; a token is spent by an UPDATE that only an
unspent token takes. What must never go back (revocations, CRL numbers, generations) is guarded by
triggers.
"""

SCHEMA_VERSION = 2

_FIRST = """
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

_SECOND = """
ALTER TABLE authorities ADD COLUMN retired_at INTEGER;
ALTER TABLE certificates ADD COLUMN csr_sha256 BLOB NOT NULL DEFAULT x'';
ALTER TABLE certificates ADD COLUMN predecessor TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN authority_id INTEGER NOT NULL DEFAULT 1;
ALTER TABLE tokens ADD COLUMN voided_at INTEGER;

CREATE TABLE trust (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    phase TEXT NOT NULL,
    phase_since INTEGER NOT NULL,
    phase_reason TEXT NOT NULL,
    wave_seconds INTEGER NOT NULL,
    requested_at INTEGER
) STRICT;
INSERT INTO trust VALUES (1, 1, 1, 'steady', 0, '', 86400, NULL);
CREATE TRIGGER generations_only_grow BEFORE UPDATE ON trust
WHEN NEW.generation < OLD.generation OR NEW.epoch < OLD.epoch
BEGIN SELECT RAISE(ABORT, 'a generation never comes back'); END;

CREATE TABLE crls (
    authority_id INTEGER PRIMARY KEY REFERENCES authorities (authority_id),
    number INTEGER NOT NULL,
    crl_pem BLOB NOT NULL
) STRICT;
CREATE TRIGGER crl_numbers_only_grow BEFORE UPDATE ON crls WHEN NEW.number <= OLD.number
BEGIN SELECT RAISE(ABORT, 'a CRL number never comes back'); END;
CREATE TRIGGER revocations_are_for_good BEFORE UPDATE OF revoked_at ON certificates
WHEN OLD.revoked_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a revocation is never taken back'); END;
CREATE INDEX certificates_revoked ON certificates (authority_id) WHERE revoked_at IS NOT NULL;

-- chassis that were revoked or removed at least once; others have no row
CREATE TABLE nodes (
    chassis TEXT PRIMARY KEY,
    standing TEXT NOT NULL CHECK (standing IN ('revoked', 'removed', 'readmitted')),
    reason TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE confirmations (
    chassis TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    trusts TEXT NOT NULL,
    crls TEXT NOT NULL,
    serial TEXT NOT NULL,
    in_use TEXT NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT;
"""

STEPS: tuple[str, ...] = (_FIRST, _SECOND)
"""How a database comes from version n to n + 1; a new one takes all of them."""
