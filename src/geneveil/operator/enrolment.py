"""Answers enrolment requests: gather, decide, write, and only then answer.

Nothing here knows HTTP; statuses are numbers for the server to send. Not safe for several threads:
the server runs it in one.
"""

import json
from datetime import datetime

from geneveil.enroll.port import Enrolment
from geneveil.enroll.wire import (
    bootstrap_document,
    enrolment_document,
    parse_credential,
    parse_enrol_request,
)
from geneveil.model.errors import TrustError
from geneveil.operator.decide import EnrolmentView, Issue, IssueAgain, Refuse, decide_enrolment
from geneveil.operator.issuing import Answer, Desk
from geneveil.operator.records import CertificateRecord
from geneveil.pki.authority import key_pin
from geneveil.pki.reasons import Finding, Reason
from geneveil.pki.request import ReadRequest, read_request


class EnrolmentService:
    """The operator's answers to those that have no certificate yet."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._registry = desk.registry

    def bootstrap(self) -> Answer:
        """What everyone may know."""
        cluster = self._registry.state.cluster
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
        proved = ""
        try:
            with self._registry.store.transaction():
                view = self._gather(identifier, secret, request)
                decision = decide_enrolment(view)
                proved = decision.chassis if isinstance(decision, Issue) else ""
                return self._apply(decision, view.now, remote)
        except TrustError as error:
            return self.refuse(Finding(Reason.AUTHORITY_NOT_VALID, error.what), remote, proved)

    def refuse(self, finding: Finding, remote: str, chassis: str = "") -> Answer:
        """Refuse what never became a request, and write that down."""
        now = self._registry.clock.now()
        with self._registry.store.transaction():
            return self._desk.refuse(Refuse(chassis, (finding,)), now, remote)

    def _gather(
        self, identifier: str, secret: bytes, request: ReadRequest | Finding
    ) -> EnrolmentView:
        registry = self._registry
        registry.refresh()
        store, cluster = registry.store, registry.state.cluster
        token = store.find_token(identifier)
        key_holder, earlier, node = "", None, None
        if token is not None:
            node = registry.tables.find_node(token.chassis)
            earlier = store.find_certificate(token.serial) if token.serial else None
            if isinstance(request, ReadRequest) and request.public_key is not None:
                key_holder = store.find_key_holder(key_pin(request.public_key), token.chassis)
        return EnrolmentView(
            token=token,
            secret=secret,
            request=request,
            key_holder=key_holder,
            earlier=earlier,
            operator_names=cluster.server_names,
            key_type=cluster.settings.certificates.key_type,
            now=registry.clock.now(),
            node=node,
        )

    def _apply(self, decision: Issue | IssueAgain | Refuse, now: datetime, remote: str) -> Answer:
        match decision:
            case Refuse():
                return self._desk.refuse(decision, now, remote)
            case IssueAgain(earlier):
                self._desk.note_again(earlier, remote, now)
                return self._grant(earlier)
            case Issue():
                return self._grant(self._desk.issue(decision, now, remote))

    def _grant(self, record: CertificateRecord) -> Answer:
        cluster = self._registry.state.cluster
        enrolment = Enrolment(record.certificate_pem, cluster.trust_bundle_pem, cluster.settings)
        return Answer(200, enrolment_document(enrolment))


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
