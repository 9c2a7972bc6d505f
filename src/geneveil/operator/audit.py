"""The audit log: append-only, each entry chained to the one before by a hash.

    hash = SHA-256(canonical JSON of every field of the entry and the previous hash)

The database refuses to change or delete an entry; the chain tells when somebody did so without
asking the database. Cutting entries off the end is found only against something kept elsewhere:
the certificates that were issued, or a head hash that was noted.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum

GENESIS = "0" * 64
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


class Event(Enum):
    """What an entry tells."""

    SEALED = "sealed"
    AUTHORITY_MADE = "authority-made"
    TOKEN_MADE = "token-made"  # noqa: S105
    TOKEN_VOIDED = "token-voided"  # noqa: S105
    ISSUED = "issued"
    ISSUED_AGAIN = "issued-again"
    REFUSED = "refused"
    OPERATOR_CERTIFICATE = "operator-certificate"
    RENEWED = "renewed"
    NODE_REVOKED = "node-revoked"
    NODE_REMOVED = "node-removed"
    NODE_READMITTED = "node-readmitted"
    CRL_MADE = "crl-made"
    ROLLOVER_REQUESTED = "rollover-requested"
    ROLLOVER_PHASE = "rollover-phase"
    AUTHORITY_RETIRED = "authority-retired"
    BACKED_UP = "backed-up"
    RESTORED = "restored"


@dataclass(frozen=True)
class AuditEvent:
    """What happened, before it has a place in the chain.

    Attributes:
        reason: the stable word of a refusal; else empty.
        chassis: whom it concerns, as far as that was proved or asked for; may be empty.
        remote: the address that asked; empty for what was done on the operator's machine.
        serial: the certificate, 40 hexadecimal digits; may be empty.
        detail: a sentence for a person; no secret, no unescaped text from outside.
    """

    event: Event
    reason: str = ""
    chassis: str = ""
    remote: str = ""
    serial: str = ""
    detail: str = ""


@dataclass(frozen=True)
class AuditEntry:
    """An entry as it is stored; times as `2026-01-31T12:00:00Z`."""

    seq: int
    at: str
    event: str
    reason: str
    chassis: str
    remote: str
    serial: str
    detail: str
    previous_hash: str
    hash: str


def chain_entry(event: AuditEvent, at: datetime, seq: int, previous_hash: str) -> AuditEntry:
    """Give an event its place after the entry with `previous_hash`."""
    entry = AuditEntry(
        seq=seq,
        at=at.strftime(TIME_FORMAT),
        event=event.event.value,
        reason=event.reason,
        chassis=event.chassis,
        remote=event.remote,
        serial=event.serial,
        detail=event.detail,
        previous_hash=previous_hash,
        hash="",
    )
    return AuditEntry(**{**asdict(entry), "hash": _hash(entry)})


def check_chain(entries: Iterable[AuditEntry], issued_serials: Iterable[str]) -> tuple[str, ...]:
    """Find what is wrong with a log; nothing if it is whole.

    Args:
        entries: all of them, ascending.
        issued_serials: every certificate that exists; each must have its entry.
    Returns:
        One sentence per break.
    """
    problems = []
    previous_hash, expected_seq = GENESIS, 1
    told = set()
    for entry in entries:
        if entry.seq != expected_seq:
            problems.append(f"entries {expected_seq} to {entry.seq - 1} are missing")
        if entry.previous_hash != previous_hash:
            problems.append(f"entry {entry.seq} does not follow the entry before it")
        if entry.hash != _hash(entry):
            problems.append(f"entry {entry.seq} was changed after it was written")
        previous_hash, expected_seq = entry.hash, entry.seq + 1
        told.add(entry.serial)
    problems += [
        f"certificate {serial} was issued and no entry tells of it"
        for serial in sorted(set(issued_serials) - told)
    ]
    return tuple(problems)


def _hash(entry: AuditEntry) -> str:
    fields = asdict(entry)
    del fields["hash"]
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
