"""Answers enrolment requests: gather, decide, write, and only then answer.

Everything that a request changes is one transaction, durable before the answer leaves. Nothing
here knows HTTP; statuses are numbers for the server to send. Not safe for several threads: the
server runs it in one.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509

from geneveil.enroll.port import Enrolment
from geneveil.enroll.wire import (
    bootstrap_document,
    enrolment_document,
    parse_credential,
    parse_enrol_request,
)
from geneveil.model.clock import Clock
from geneveil.model.errors import TrustError
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.cluster import SealedCluster
from geneveil.operator.decide import EnrolmentView, Issue, IssueAgain, Refuse, decide_enrolment
from geneveil.operator.records import CertificateRecord, Kind
from geneveil.operator.store import Store
from geneveil.pki.authority import (
    SERIAL_BYTES,
    Authority,
    encode_certificate,
    key_pin,
    serial_text,
    sign_node,
)
from geneveil.pki.keys import PublicKey
from geneveil.pki.reasons import Finding, Reason
from geneveil.pki.request import ReadRequest, read_request

_STATUSES = {
    Reason.REQUEST_TOO_LARGE: 413,
    Reason.REQUEST_CONTENT_TYPE: 415,
    Reason.REQUEST_NOT_JSON: 400,
    Reason.REQUEST_SHAPE: 400,
    Reason.TOKEN_MALFORMED: 400,
    Reason.TOKEN_UNKNOWN: 403,
    Reason.TOKEN_EXPIRED: 403,
    Reason.TOKEN_OTHER_NODE: 403,
    Reason.TOKEN_USED: 409,
    Reason.AUTHORITY_NOT_VALID: 503,
}
_STATUS_OF_THE_REST = 422


@dataclass(frozen=True)
class Answer:
    """An HTTP status and a JSON body."""

    status: int
    document: dict[str, Any]


@dataclass(frozen=True)
class Signer:
    """What signing needs.

    Attributes:
        authority_id: of the authority that signs.
        draw: gives so many random bytes.
    """

    cluster: SealedCluster
    authority: Authority
    authority_id: int
    clock: Clock
    draw: Callable[[int], bytes]


class EnrolmentService:
    """The operator's answers, over one store."""

    def __init__(self, store: Store, signer: Signer) -> None:
        self._store = store
        self._signer = signer

    def bootstrap(self) -> Answer:
        """What everyone may know."""
        cluster = self._signer.cluster
        return Answer(200, bootstrap_document(cluster.trust_bundle_pem, cluster.settings))

    def enrol(self, body: bytes, remote: str) -> Answer:
        """Answer one request.

        Args:
            body: as it came; hostile.
            remote: the address that it came from, for the audit log.
        Raises:
            DaemonError: the database failed; nothing was changed.
        """
        parsed = _parse_body(body)
        if isinstance(parsed, Finding):
            return self.refuse(parsed, remote)
        identifier, secret, csr_pem = parsed
        request = read_request(csr_pem)
        try:
            with self._store.transaction():
                view = self._gather(identifier, secret, request)
                return self._apply(decide_enrolment(view), view.now, remote)
        except TrustError as error:
            return self.refuse(Finding(Reason.AUTHORITY_NOT_VALID, error.what), remote)

    def refuse(self, finding: Finding, remote: str) -> Answer:
        """Refuse what never became a request, and write that down."""
        now = self._signer.clock.now()
        with self._store.transaction():
            return self._write_refusal(Refuse("", (finding,)), now, remote)

    def _gather(
        self, identifier: str, secret: bytes, request: ReadRequest | Finding
    ) -> EnrolmentView:
        token = self._store.find_token(identifier)
        key_holder, earlier = "", None
        if token is not None:
            earlier = self._store.find_certificate(token.serial) if token.serial else None
            if isinstance(request, ReadRequest) and request.public_key is not None:
                pin = key_pin(request.public_key)
                key_holder = self._store.find_key_holder(pin, token.chassis)
        cluster = self._signer.cluster
        return EnrolmentView(
            token=token,
            secret=secret,
            request=request,
            key_holder=key_holder,
            earlier=earlier,
            operator_names=cluster.server_names,
            key_type=cluster.settings.certificates.key_type,
            now=self._signer.clock.now(),
        )

    def _apply(self, decision: Issue | IssueAgain | Refuse, now: datetime, remote: str) -> Answer:
        match decision:
            case Refuse():
                return self._write_refusal(decision, now, remote)
            case IssueAgain(earlier):
                event = AuditEvent(
                    Event.ISSUED_AGAIN,
                    chassis=earlier.chassis,
                    remote=remote,
                    serial=earlier.serial,
                )
                self._store.append_audit(event, now)
                return self._grant(earlier)
            case Issue():
                return self._issue(decision, now, remote)

    def _issue(self, issue: Issue, now: datetime, remote: str) -> Answer:
        signer = self._signer
        settings = signer.cluster.settings
        certificate = sign_node(
            signer.authority,
            issue.public_key,
            issue.chassis,
            settings.name,
            settings.certificates.node_lifetime,
            now,
            signer.draw(SERIAL_BYTES),
        )
        record = record_certificate(certificate, Kind.NODE, issue.chassis, signer.authority_id, now)
        self._store.add_certificate(record)
        self._store.spend_token(issue.token, issue.csr_sha256, record.serial)
        event = AuditEvent(Event.ISSUED, chassis=issue.chassis, remote=remote, serial=record.serial)
        self._store.append_audit(event, now)
        return self._grant(record)

    def _grant(self, record: CertificateRecord) -> Answer:
        cluster = self._signer.cluster
        enrolment = Enrolment(record.certificate_pem, cluster.trust_bundle_pem, cluster.settings)
        return Answer(200, enrolment_document(enrolment))

    def _write_refusal(self, refusal: Refuse, now: datetime, remote: str) -> Answer:
        first = refusal.findings[0]
        message = "; ".join(finding.message for finding in refusal.findings)
        event = AuditEvent(
            Event.REFUSED,
            reason=first.reason.value,
            chassis=refusal.chassis,
            remote=remote,
            detail=message,
        )
        self._store.append_audit(event, now)
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
    )


def _parse_body(body: bytes) -> tuple[str, bytes, str] | Finding:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return Finding(Reason.REQUEST_NOT_JSON, "the body is not JSON")
    texts = parse_enrol_request(document)
    if texts is None:
        return Finding(
            Reason.REQUEST_SHAPE, 'the body is not {"token": text, "csr": text} and nothing else'
        )
    credential = parse_credential(texts[0])
    if credential is None:
        return Finding(Reason.TOKEN_MALFORMED, "the join token is malformed")
    return *credential, texts[1]
