"""Answers nodes that have a certificate: renewals and watches.

The same rules as in `enrolment`: gather, decide, write, then answer; one thread; no HTTP.
"""

import json
from dataclasses import dataclass
from datetime import datetime

from geneveil.enroll.port import Renewal, WatchState
from geneveil.enroll.watch_wire import (
    parse_renew_request,
    parse_watch_request,
    renewal_document,
    watch_document,
)
from geneveil.model.errors import TrustError
from geneveil.operator.clients import ClientView, judge_client
from geneveil.operator.confirmations import Confirmations
from geneveil.operator.decide import Issue, IssueAgain, Refuse
from geneveil.operator.decide_renewal import RenewalView, decide_renewal, is_superseded
from geneveil.operator.issuing import Answer, Desk, refusal_answer
from geneveil.operator.records import CertificateRecord
from geneveil.operator.trust_state import build_watch_answer
from geneveil.pki.authority import key_pin, serial_text
from geneveil.pki.keyfiles import NamedBytes, parse_certificate
from geneveil.pki.reasons import Finding, Reason
from geneveil.pki.request import ReadRequest, read_request


@dataclass(frozen=True)
class WatchTicket:
    """A watch that is to be held until the generation differs from the node's.

    Attributes:
        is_sign_of_life: False with a certificate that the node has replaced: whoever has an old
            copy of its key may listen, and is not taken for the node.
    """

    chassis: str
    generation: int
    is_sign_of_life: bool = True


class MemberService:
    """The operator's answers to those that are in the cluster."""

    def __init__(self, desk: Desk, confirmations: Confirmations) -> None:
        self._desk = desk
        self._registry = desk.registry
        self._confirmations = confirmations

    def renew(self, certificate_pem: bytes, body: bytes, remote: str) -> Answer:
        """Answer one renewal.

        Args:
            certificate_pem: what the client proved in TLS; empty if nothing.
            body: as it came; hostile.
        Raises:
            DaemonError: the database failed; nothing was changed.
        """
        proved = ""
        try:
            with self._registry.store.transaction():
                now = self._registry.clock.now()
                decision = self._decide_renewal(certificate_pem, body, now)
                proved = decision.chassis if isinstance(decision, Issue) else ""
                match decision:
                    case Refuse():
                        return self._desk.refuse(decision, now, remote)
                    case IssueAgain(earlier):
                        self._desk.note_again(earlier, remote, now)
                        return self._grant(earlier)
                    case Issue():
                        return self._grant(self._desk.issue(decision, now, remote))
        except TrustError as error:
            return self.refuse(Finding(Reason.AUTHORITY_NOT_VALID, error.what), remote, proved)

    def refuse(self, finding: Finding, remote: str, chassis: str = "") -> Answer:
        """Refuse what never became a request, and write that down."""
        with self._registry.store.transaction():
            now = self._registry.clock.now()
            return self._desk.refuse(Refuse(chassis, (finding,)), now, remote)

    def begin_watch(
        self, certificate_pem: bytes, body: bytes, heard_at_seconds: float
    ) -> WatchTicket | Answer:
        """Take a node's confirmation; a refusal is not written to the log, a node would fill it.

        What a node says never goes back to an older certificate, nor is it believed of whoever
        proves one: an old copy of a key could renew again, and for ever.

        Args:
            heard_at_seconds: of a clock that nobody moves.
        """
        now = self._registry.clock.now()
        client = self._authenticate(certificate_pem, self._registry.believed_now())
        if isinstance(client, Finding):
            return refusal_answer(Refuse("", (client,)))
        state = _parse_watch(body)
        if isinstance(state, Finding):
            return refusal_answer(Refuse(client.chassis, (state,)))
        own = self._registry.store.find_certificates_of(client.chassis)
        if state.serial not in {record.serial for record in own}:
            wrong = Finding(Reason.REQUEST_SHAPE, "certificate is none of this node's")
            return refusal_answer(Refuse(client.chassis, (wrong,)))
        uses = self._confirmations.serial_of(client.chassis)
        if any(is_superseded(own, serial, uses) for serial in (client.serial, state.serial)):
            return WatchTicket(client.chassis, state.generation, is_sign_of_life=False)
        self._confirmations.note(client.chassis, state, now, heard_at_seconds)
        return WatchTicket(client.chassis, state.generation)

    def end_watch(self, certificate_pem: bytes, held_seconds: float) -> Answer:
        """What a node is told now; judged anew, because it may have been revoked meanwhile."""
        client = self._authenticate(certificate_pem, self._registry.believed_now())
        if isinstance(client, Finding):
            return refusal_answer(Refuse("", (client,)))
        registry = self._registry
        answer = build_watch_answer(registry.state, client, held_seconds, registry.expired_chassis)
        return Answer(200, watch_document(answer))

    def _authenticate(self, certificate_pem: bytes, now: datetime) -> CertificateRecord | Finding:
        registry = self._registry
        record = None
        if certificate_pem:
            shown = parse_certificate(NamedBytes("the client's certificate", certificate_pem))
            record = registry.store.find_certificate(serial_text(shown.serial_number))
        retired = {authority.authority_id for authority in registry.state.cluster.retired}
        view = ClientView(
            certificate_pem=certificate_pem,
            record=record,
            node=registry.tables.find_node(record.chassis) if record else None,
            is_authority_retired=record is not None and record.authority_id in retired,
            now=now,
        )
        finding = judge_client(view)
        if finding is not None or record is None:
            return finding or Finding(Reason.CLIENT_CERTIFICATE_UNKNOWN, "it is not known")
        return record

    def _proved_chassis(self, certificate_pem: bytes) -> str:
        """Whose certificate it is, though it is refused; empty if it is not in the records."""
        if not certificate_pem:
            return ""
        shown = parse_certificate(NamedBytes("the client's certificate", certificate_pem))
        record = self._registry.store.find_certificate(serial_text(shown.serial_number))
        is_it = record is not None and record.certificate_pem == certificate_pem
        return record.chassis if record is not None and is_it else ""

    def _decide_renewal(
        self, certificate_pem: bytes, body: bytes, now: datetime
    ) -> Issue | IssueAgain | Refuse:
        registry = self._registry
        registry.refresh()
        client = self._authenticate(certificate_pem, now)
        if isinstance(client, Finding):
            return Refuse(self._proved_chassis(certificate_pem), (client,))
        csr_pem = _parse_renewal(body)
        if isinstance(csr_pem, Finding):
            return Refuse(client.chassis, (csr_pem,))
        request = read_request(csr_pem)
        pin, key_holder = b"", ""
        if isinstance(request, ReadRequest) and request.public_key is not None:
            pin = key_pin(request.public_key)
            key_holder = registry.store.find_key_holder(pin, client.chassis)
        policy = registry.state.cluster.settings.certificates
        return decide_renewal(
            RenewalView(
                client=client,
                own=registry.store.find_certificates_of(client.chassis),
                request=request,
                key_sha256=pin,
                key_holder=key_holder,
                uses=self._confirmations.serial_of(client.chassis),
                is_rolling_over=client.authority_id != registry.state.signing.authority_id,
                key_type=policy.key_type,
                renew_after=policy.renew_after,
                now=now,
            )
        )

    def _grant(self, record: CertificateRecord) -> Answer:
        state = self._registry.state
        renewal = Renewal(
            record.certificate_pem,
            state.cluster.trust_bundle_pem,
            state.cluster.settings,
            state.crls_pem,
        )
        return Answer(200, renewal_document(renewal))


def _parse_renewal(body: bytes) -> str | Finding:
    document = _parse_json(body)
    if isinstance(document, Finding):
        return document
    csr = parse_renew_request(document)
    if csr is None:
        return Finding(Reason.REQUEST_SHAPE, 'the body is not {"csr": text} and nothing else')
    return csr


def _parse_watch(body: bytes) -> WatchState | Finding:
    document = _parse_json(body)
    if isinstance(document, Finding):
        return document
    state = parse_watch_request(document)
    if state is None:
        return Finding(Reason.REQUEST_SHAPE, "the body is not the state of a node")
    return state


def _parse_json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return Finding(Reason.REQUEST_NOT_JSON, "the body is not JSON")
