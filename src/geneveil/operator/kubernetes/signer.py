"""Answers CertificateSigningRequests: gather, decide, write to the ledger, and only then answer.

Many requests make one transaction, so that the ledgers of a thousand nodes are written side by
side. Whatever ends this in between (a kill, an API server that is away), the request is found
unanswered by the next look, and the ledger says what the answer is.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from geneveil.kube.csr_wire import SigningRequest
from geneveil.model.errors import TrustError
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.decide import Issue, IssueAgain, Refuse
from geneveil.operator.issuing import Desk
from geneveil.operator.kubernetes.claims import Claims
from geneveil.operator.kubernetes.decide_signing import (
    SigningView,
    Wait,
    decide_signing,
    decide_waiting,
)
from geneveil.operator.kubernetes.ledger import Binding
from geneveil.operator.kubernetes.store import KubeStore
from geneveil.operator.records import CertificateRecord, NodeRecord, Standing
from geneveil.pki.authority import key_pin
from geneveil.pki.reasons import Finding, Reason
from geneveil.pki.request import ReadRequest, read_request


@dataclass(frozen=True)
class Grant:
    """This certificate, for this request."""

    csr: SigningRequest
    certificate_pem: bytes


@dataclass(frozen=True)
class Denial:
    """No, and why.

    Attributes:
        reason: the word of the first failed check.
        message: what all of them say.
    """

    csr: SigningRequest
    reason: str
    message: str


@dataclass(frozen=True)
class Waiting:
    """Not yet, and why."""

    csr: SigningRequest
    why: str


class Signer:
    """Runs in the thread that owns the store.

    Args:
        server_now: the API server's time, from our own.
    """

    def __init__(
        self,
        desk: Desk,
        store: KubeStore,
        claims: Claims,
        namespace: str,
        server_now: Callable[[datetime], datetime],
    ) -> None:
        self._desk = desk
        self._registry = desk.registry
        self._store = store
        self._claims = claims
        self._namespace = namespace
        self._server_now = server_now

    def answer(
        self, requests: Iterable[SigningRequest], earlier: Mapping[str, int]
    ) -> tuple[Grant | Denial | Waiting, ...]:
        """Decide about requests, durable when it returns.

        Args:
            earlier: see `geneveil.operator.kubernetes.waiting.count_earlier`.
        Raises:
            GeneveilError: nothing of it is to be believed; the store is to be read anew.
        """
        with self._store.transaction():
            self._registry.refresh()
            return tuple(self._answer(csr, earlier.get(csr.uid, 0)) for csr in requests)

    def write_counts(self) -> None:
        """Tell the log how many strangers were refused, once their minute is over."""
        self._desk.write_counts()

    def _answer(self, csr: SigningRequest, before: int) -> Grant | Denial | Waiting:
        view = self._gather(csr, before)
        decision = decide_signing(view)
        try:
            match decision:
                case Wait() | Refuse():
                    return self._put_off(csr, decision, view.now)
                case IssueAgain(earlier):
                    self._desk.note_again(earlier, csr.name, view.now)
                    return Grant(csr, earlier.certificate_pem)
                case Issue():
                    return Grant(csr, self._issue(csr, decision, view).certificate_pem)
        except TrustError as error:
            # an authority that is not valid now will be followed by another: the request waits
            return self._put_off(csr, decide_waiting(view, error.render()), view.now)

    def _issue(self, csr: SigningRequest, issue: Issue, view: SigningView) -> CertificateRecord:
        with self._store.transaction():
            record = self._desk.issue(issue, view.now, csr.name)
            self._store.bind(issue.chassis, Binding(csr.node_names[0], csr.node_uids[0]))
            if view.standing is not None and view.standing.is_shut_out:
                self._readmit(view.standing, view.now)
        return record

    def _readmit(self, standing: NodeRecord, now: datetime) -> None:
        record = NodeRecord(standing.chassis, Standing.READMITTED, standing.reason, now)
        self._registry.tables.put_node(record)
        event = AuditEvent(
            Event.NODE_READMITTED,
            chassis=standing.chassis,
            detail="its Node was deleted and is here again",
        )
        self._store.append_audit(event, now)

    def _put_off(
        self, csr: SigningRequest, decision: Wait | Refuse, now: datetime
    ) -> Denial | Waiting:
        if isinstance(decision, Wait):
            return Waiting(csr, decision.why)
        return self._refuse(csr, decision, now)

    def _refuse(self, csr: SigningRequest, refusal: Refuse, now: datetime) -> Denial:
        self._desk.refuse(refusal, now, csr.username)
        message = "; ".join(finding.message for finding in refusal.findings)
        return Denial(csr, refusal.findings[0].reason.value, message)

    def _gather(self, csr: SigningRequest, before: int) -> SigningView:
        registry, claims = self._registry, self._claims
        now = registry.clock.now()
        cluster = registry.state.cluster
        node = claims.find(csr.node_names[0]) if len(csr.node_names) == 1 else None
        chassis = node.chassis if node else ""
        binding = self._store.find_binding(chassis)
        request: ReadRequest | Finding = (
            read_request(csr.csr_pem)
            if csr.csr_pem
            else Finding(Reason.CSR_MALFORMED, "the request is not base64 of ASCII")
        )
        pin, key_holder = b"", ""
        if isinstance(request, ReadRequest) and request.public_key is not None:
            pin = key_pin(request.public_key)
            key_holder = registry.store.find_key_holder(pin, chassis)
        others = (
            [one for one in self._store.chassis_of(node.name) if one != chassis] if node else []
        )
        elsewhere = (one for other in others for one in registry.store.find_certificates_of(other))
        revoked = [other for other in others if self._is_revoked(other)]
        own = registry.store.find_certificates_of(chassis) if chassis else ()
        trusted = {authority.authority_id for authority in cluster.authorities}
        return SigningView(
            csr=csr,
            namespace=self._namespace,
            node=node,
            claimants=self._claimants(chassis, node.name) if node and chassis else (),
            binding=binding,
            is_bound_here=binding is not None and claims.find(binding.node) is not None,
            request=request,
            own=own,
            key_sha256=pin,
            key_holder=key_holder,
            standing=registry.tables.find_node(chassis) if chassis else None,
            reserved_names=cluster.server_names,
            key_type=cluster.settings.certificates.key_type,
            now=now,
            server_now=self._server_now(now),
            elsewhere=tuple(elsewhere),
            revoked_as=revoked[0] if revoked else "",
            earlier=before,
            kept=sum(one.authority_id in trusted for one in own),
        )

    def _claimants(self, chassis: str, node: str) -> tuple[str, ...]:
        """Those that say so now, and those that are there and had it in other letters."""
        spelled = {
            name
            for name in self._store.nodes_spelled(chassis)
            if name != node and self._claims.find(name) is not None
        }
        return tuple(sorted({*self._claims.others(chassis, node), *spelled}))

    def _is_revoked(self, chassis: str) -> bool:
        standing = self._registry.tables.find_node(chassis)
        return standing is not None and standing.standing is Standing.REVOKED
