"""Writes down what was decided about a request, and makes the answer. No HTTP, no decision.

Everything that a request changes is one transaction, durable before the answer leaves.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509

from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.decide import Issue, Refuse
from geneveil.operator.records import CertificateRecord, Kind
from geneveil.operator.refusal_summary import PROVED, UNPROVED, RefusalSummary
from geneveil.operator.registry import Registry
from geneveil.operator.token_voiding import void_other_tokens
from geneveil.pki.authority import (
    SERIAL_BYTES,
    encode_certificate,
    key_pin,
    serial_text,
    sign_node,
)
from geneveil.pki.keys import PublicKey
from geneveil.pki.reasons import Reason

_STATUSES = {
    Reason.REQUEST_TOO_LARGE: 413,
    Reason.REQUEST_CONTENT_TYPE: 415,
    Reason.REQUEST_NOT_JSON: 400,
    Reason.REQUEST_SHAPE: 400,
    Reason.TOKEN_MALFORMED: 400,
    Reason.TOKEN_UNKNOWN: 403,
    Reason.TOKEN_EXPIRED: 403,
    Reason.TOKEN_OTHER_NODE: 403,
    Reason.TOKEN_VOID: 403,
    Reason.TOKEN_USED: 409,
    Reason.CLIENT_CERTIFICATE_MISSING: 401,
    Reason.CLIENT_CERTIFICATE_UNKNOWN: 403,
    Reason.CERTIFICATE_REVOKED: 403,
    Reason.CERTIFICATE_EXPIRED: 403,
    Reason.CERTIFICATE_SUPERSEDED: 403,
    Reason.NODE_REVOKED: 403,
    Reason.RENEWAL_TOO_EARLY: 409,
    Reason.AUTHORITY_NOT_VALID: 503,
}
_STATUS_OF_THE_REST = 422


@dataclass(frozen=True)
class Answer:
    """An HTTP status and a JSON body."""

    status: int
    document: dict[str, Any]


class Desk:
    """Issues and refuses over one registry; not safe for several threads."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._unproved, self._proved = RefusalSummary(UNPROVED), RefusalSummary(PROVED)

    def issue(self, issue: Issue, now: datetime, remote: str) -> CertificateRecord:
        """Sign and remember; inside a transaction.

        A token that is spent takes the worth of every other unspent token of the chassis. Older
        certificates of the chassis are left as they are, after a token as after a renewal: the
        node may still run on one when it asks, and the peers would refuse it from the CRL on,
        before it uses the new one. Revoking them is safe only once the node has confirmed that it
        uses the new one, and that is not done; `operator revoke` and a token made with --readmit
        are the way when an old key is in wrong hands.

        Raises:
            TrustError: the authority is not valid now, or its key can't be read.
        """
        registry = self.registry
        state = registry.state
        settings, signing = state.cluster.settings, state.signing
        certificate = sign_node(
            registry.authority(signing),
            issue.public_key,
            issue.chassis,
            settings.name,
            settings.certificates.node_lifetime,
            now,
            registry.draw(SERIAL_BYTES),
        )
        record = record_certificate(
            certificate,
            Kind.NODE,
            issue.chassis,
            signing.authority_id,
            now,
            csr_sha256=issue.csr_sha256,
            predecessor=issue.predecessor,
        )
        registry.store.add_certificate(record)
        if issue.token:
            registry.store.spend_token(issue.token, issue.csr_sha256, record.serial)
        event = Event.RENEWED if issue.predecessor else Event.ISSUED
        registry.store.append_audit(_certificate_event(event, record, remote), now)
        if issue.token:
            why = f"token {issue.token} was spent"
            void_other_tokens(registry.store, issue.chassis, why, now, remote)
        if issue.chassis in state.revoked_chassis:  # it was readmitted: nodes are to know
            registry.tables.bump()
            registry.refresh()
        return record

    def note_again(self, earlier: CertificateRecord, remote: str, now: datetime) -> None:
        """Tell the log that an answer was given again; inside a transaction."""
        again = _certificate_event(Event.ISSUED_AGAIN, earlier, remote)
        for one in self._proved.note(again, now):
            self.registry.store.append_audit(one, now)

    def refuse(self, refusal: Refuse, now: datetime, remote: str) -> Answer:
        """Write a refusal down; inside a transaction.

        One that names a chassis was proved, by a token or a certificate; how others are told from
        it, and what is an entry of its own, `refusal_summary` says.
        """
        first = refusal.findings[0]
        message = "; ".join(finding.message for finding in refusal.findings)
        event = AuditEvent(
            Event.REFUSED,
            reason=first.reason.value,
            chassis=refusal.chassis,
            remote=remote,
            detail=message,
        )
        summary = self._proved if refusal.chassis else self._unproved
        for one in summary.note(event, now):
            self.registry.store.append_audit(one, now)
        return refusal_answer(refusal)

    def write_counts(self, is_end: bool = False) -> None:
        """Write down how many answers were counted and not told, once their window is over.

        Args:
            is_end: the operator stops; the running window too.
        """
        now = self.registry.clock.now()
        counts = (one.take_counts(now, is_end) for one in (self._unproved, self._proved))
        events = tuple(event for some in counts for event in some)
        if events:
            with self.registry.store.transaction():
                for event in events:
                    self.registry.store.append_audit(event, now)


def _certificate_event(event: Event, record: CertificateRecord, remote: str) -> AuditEvent:
    detail = f"follows {record.predecessor}" if record.predecessor else ""
    return AuditEvent(
        event, chassis=record.chassis, remote=remote, serial=record.serial, detail=detail
    )


def refusal_answer(refusal: Refuse) -> Answer:
    """What is said; the first finding decides the status."""
    first = refusal.findings[0]
    message = "; ".join(finding.message for finding in refusal.findings)
    reasons = [finding.reason.value for finding in refusal.findings]
    return Answer(
        _STATUSES.get(first.reason, _STATUS_OF_THE_REST),
        {"reason": reasons[0], "message": message, "findings": reasons},
    )


def record_certificate(
    certificate: x509.Certificate,
    kind: Kind,
    chassis: str,
    authority_id: int,
    now: datetime,
    *,
    csr_sha256: bytes = b"",
    predecessor: str = "",
) -> CertificateRecord:
    """What is remembered of a certificate that was just signed."""
    public_key = certificate.public_key()
    if not isinstance(public_key, PublicKey):
        raise TypeError("only ECDSA and RSA keys are ever certified")
    return CertificateRecord(
        serial=serial_text(certificate.serial_number),
        kind=kind,
        chassis=chassis,
        authority_id=authority_id,
        certificate_pem=encode_certificate(certificate),
        key_sha256=key_pin(public_key),
        issued_at=now,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        csr_sha256=csr_sha256,
        predecessor=predecessor,
    )
