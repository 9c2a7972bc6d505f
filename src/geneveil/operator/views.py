"""What `operator list`, `log`, `token` and `tokens` show, as documents for machines.

Field names are stable; tables for people are made of the same documents.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from geneveil.enroll.port import JoinToken
from geneveil.enroll.wire import encode_token
from geneveil.model.cluster import CalendarSpan
from geneveil.operator.audit import TIME_FORMAT, AuditEntry
from geneveil.operator.records import CertificateRecord, Kind, NodeRecord, judge_status
from geneveil.operator.revocation import Revocation
from geneveil.operator.server_identity import LIFETIME
from geneveil.pki.renewal import plan_renewal
from geneveil.pki.tokens import TokenRecord


def certificates_document(
    records: Iterable[CertificateRecord],
    renew_after: CalendarSpan,
    now: datetime,
    with_operator: bool,
) -> dict[str, Any]:
    """Every certificate, in the order of issue: `{"certificates": [...]}`."""
    records = tuple(records)
    newest = {(record.kind, record.chassis): record.serial for record in records}
    return {
        "certificates": [
            _certificate(record, newest[record.kind, record.chassis], renew_after, now)
            for record in records
            if with_operator or record.kind is Kind.NODE
        ]
    }


def _certificate(
    record: CertificateRecord, newest_serial: str, renew_after: CalendarSpan, now: datetime
) -> dict[str, Any]:
    if record.kind is Kind.OPERATOR:
        renew_after = CalendarSpan(LIFETIME.months * 2 // 3)
    due = plan_renewal(record.not_before, record.not_after, renew_after, record.chassis)
    return {
        "kind": record.kind.value,
        "chassis": record.chassis,
        "serial": record.serial,
        "notBefore": record.not_before.strftime(TIME_FORMAT),
        "notAfter": record.not_after.strftime(TIME_FORMAT),
        "renewalDue": due.strftime(TIME_FORMAT),
        "status": judge_status(record, newest_serial, due, now).value,
        "authority": record.authority_id,
        "predecessor": record.predecessor,
        "revokedAt": record.revoked_at.strftime(TIME_FORMAT) if record.revoked_at else None,
        "revocationReason": record.revocation_reason,
    }


def nodes_document(records: Iterable[NodeRecord]) -> list[dict[str, Any]]:
    """Every chassis that was ever revoked or removed."""
    return [
        {
            "chassis": record.chassis,
            "standing": record.standing.value,
            "reason": record.reason,
            "changedAt": record.changed_at.strftime(TIME_FORMAT),
        }
        for record in records
    ]


def revocation_document(done: Revocation, is_running: bool) -> dict[str, Any]:
    """What `operator revoke` and `operator remove` did."""
    return {
        "chassis": done.chassis,
        "standing": done.standing.value,
        "reason": done.reason.value,
        "at": done.at.strftime(TIME_FORMAT),
        "certificatesRevoked": done.certificates,
        "tokensVoid": done.tokens,
        "isNew": done.is_new,
        "isOperatorRunning": is_running,
    }


def log_document(entries: Iterable[AuditEntry]) -> dict[str, Any]:
    """The audit log: `{"entries": [...]}`."""
    return {"entries": [entry_document(entry) for entry in entries]}


def entry_document(entry: AuditEntry) -> dict[str, Any]:
    """One entry of the audit log."""
    return {
        "seq": entry.seq,
        "at": entry.at,
        "event": entry.event,
        "reason": entry.reason,
        "chassis": entry.chassis,
        "remote": entry.remote,
        "serial": entry.serial,
        "detail": entry.detail,
        "previousHash": entry.previous_hash,
        "hash": entry.hash,
    }


def token_document(
    token: JoinToken, record: TokenRecord, voided: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A token that was just made; the only place that shows its secret.

    Args:
        voided: identifiers of older tokens that are void because of it.
    """
    return {
        "token": encode_token(token),
        "tokenId": record.identifier,
        "chassis": record.chassis,
        "expiresAt": record.expires_at.strftime(TIME_FORMAT),
        "caPin": token.ca_pin.hex(),
        "url": token.url,
        "tokensVoided": list(voided),
    }


def tokens_document(records: Iterable[TokenRecord], now: datetime) -> dict[str, Any]:
    """Every token that was made, without secrets: `{"tokens": [...]}`."""
    return {
        "tokens": [
            {
                "tokenId": record.identifier,
                "chassis": record.chassis,
                "createdAt": record.created_at.strftime(TIME_FORMAT),
                "expiresAt": record.expires_at.strftime(TIME_FORMAT),
                "status": _token_status(record, now),
                "serial": record.serial,
            }
            for record in records
        ]
    }


def _token_status(record: TokenRecord, now: datetime) -> str:
    if record.serial:
        return "used"
    if record.voided_at is not None and record.voided_at < record.expires_at:
        return "void"
    return "expired" if now >= record.expires_at else "unused"
