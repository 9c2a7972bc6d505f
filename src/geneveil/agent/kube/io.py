"""`EnrolmentPort` over objects of the Kubernetes API.

What was a join token's and a client certificate's proof is the Pod's token here: the API server
writes the name of its node into every request. What was the token's pin is the API server's CA
file: whoever it believes may write the ConfigMap is believed to speak for the operator.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from geneveil.agent.kube.follow.io import TrustFollower
from geneveil.agent.kube.news import News, parse_news, plan_due
from geneveil.agent.kube.node_ipsec import TRUST_MANAGER, confirmation_document
from geneveil.agent.kube.pace import confirmation_wait_seconds, decision_seconds
from geneveil.agent.kube.place import Place
from geneveil.agent.kube.request import judge_request, request_document, request_name
from geneveil.enroll.port import (
    Bootstrap,
    Enrolment,
    JoinToken,
    NodeCredential,
    Renewal,
    WatchAnswer,
    WatchState,
)
from geneveil.kube.errors import ApiRefusedError, ExistsError, GoneError, MissingError
from geneveil.kube.io import KubeClient
from geneveil.kube.kinds import CONFIG_MAPS, NODE_IPSECS, SIGNING_REQUESTS, TRUST_CONFIG_MAP
from geneveil.kube.port import Change, Document, KubePort, Selection
from geneveil.model.errors import GeneveilError, OperatorUnreachableError, TrustError

HOLD_SECONDS = 60.0
"""How long a watch waits at most, as an operator's own would."""

UNCONFIRMED_HOLD_SECONDS = 5.0
"""And while there is no NodeIPsec yet to write the confirmation to."""


SHORTEST_WATCH_SECONDS = 1.0

REFUSED_SECONDS = 15.0
"""So long a refusal may be that of an API server which has just started and not read its roles yet:
it is asked again, and nobody is told of it."""


class KubeEnrolment:
    """One cluster's API server; implements `EnrolmentPort`.

    Calls may come from several threads; `watch` from one at a time.
    """

    def __init__(self, place: Place, connect: Callable[[], KubePort]) -> None:
        self._place = place
        self._connect = connect
        self._follower = TrustFollower(place, connect)
        self._confirmed: WatchState | None = None
        self._unsaid_since: float | None = None
        self._failures_seen = 0
        self._was_away = False
        self._refused_since: float | None = None
        self._undecided = 0

    def fetch_bootstrap(self, ca_pin: bytes) -> Bootstrap:
        """See `EnrolmentPort.fetch_bootstrap`; the pin is not used. Fails closed: yes."""
        with self._allowed():
            news = self._read_news()
        return Bootstrap(news.answer.trust_bundle_pem, news.settings)

    def enrol(self, token: JoinToken, csr_pem: bytes, trust_bundle_pem: bytes) -> Enrolment:
        """See `EnrolmentPort.enrol`; the token is not used. Fails closed: yes."""
        with self._allowed():
            certificate = self._ask(csr_pem)
            news = self._read_news()
        return Enrolment(certificate, news.answer.trust_bundle_pem, news.settings)

    def renew(self, csr_pem: bytes, identity: NodeCredential, trust_bundle_pem: bytes) -> Renewal:
        """See `EnrolmentPort.renew`; the Pod's token is the proof. Fails closed: yes."""
        with self._allowed():
            certificate = self._ask(csr_pem)
            news = self._read_news()
        return Renewal(
            certificate, news.answer.trust_bundle_pem, news.settings, news.answer.crls_pem
        )

    def watch(
        self, state: WatchState, identity: NodeCredential, trust_bundle_pem: bytes
    ) -> WatchAnswer:
        """See `EnrolmentPort.watch`: the confirmation is written if it is due, then the ConfigMap
        is waited for. Whoever was away is not waited for: that it is back is news, and costs no
        request. Fails closed: yes."""
        self._follower.calm()
        if self._follower.failures != self._failures_seen:
            self._forget_confirmation()
        try:
            with self._allowed():
                hold_seconds = min(self._confirm(state), HOLD_SECONDS)
                known = None if self._was_away else state.generation
                news, held_seconds = self._follower.await_news(known, hold_seconds)
        except GeneveilError:
            self._forget_confirmation()
            raise
        self._was_away = False
        answer = news.answer
        return WatchAnswer(
            generation=answer.generation,
            trust_bundle_pem=answer.trust_bundle_pem,
            crls_pem=answer.crls_pem,
            revoked_chassis=answer.revoked_chassis,
            renew_from=answer.renew_from,
            renew_after=plan_due(news, identity.certificate_pem, trust_bundle_pem),
            held_seconds=round(held_seconds, 3),
            expired_chassis=answer.expired_chassis,
            settings=news.settings,
            reissue=answer.reissue,
        )

    def confirm_anew(self) -> None:
        """What was confirmed is not in the NodeIPsec any more, which somebody deleted, and the
        operator made again: else this node would count as one that is away.
        """
        self._confirmed = None

    def close(self) -> None:
        """See `EnrolmentPort.close`."""
        self._follower.interrupt()

    def _read_news(self) -> News:
        try:
            return parse_news(
                self._connect().read(CONFIG_MAPS, TRUST_CONFIG_MAP, self._place.namespace)
            )
        except MissingError as error:
            raise OperatorUnreachableError(
                "the operator has not published the cluster's trust yet", why=error.why
            ) from None

    def _forget_confirmation(self) -> None:
        """Whoever was away may have come back as an older one, from a snapshot."""
        self._failures_seen = self._follower.failures
        self._confirmed = None
        self._was_away = True

    def _confirm(self, state: WatchState) -> float:
        """Write it if it is due.

        Returns:
            How long to wait for news before this is asked again, in seconds.
        """
        if state == self._confirmed:
            self._unsaid_since = None
            return HOLD_SECONDS
        now_seconds = time.monotonic()
        if self._unsaid_since is None:
            self._unsaid_since = now_seconds
        age_seconds = now_seconds - self._unsaid_since
        wait = confirmation_wait_seconds(self._place.node, state, self._confirmed, age_seconds)
        if wait > 0:
            return wait
        document = confirmation_document(self._place.node, state)
        try:
            self._connect().apply(NODE_IPSECS, document, TRUST_MANAGER, "status")
        except MissingError:
            return UNCONFIRMED_HOLD_SECONDS
        self._confirmed, self._unsaid_since = state, None
        return HOLD_SECONDS

    def _ask(self, csr_pem: bytes) -> bytes:
        """Make the request, or find the one that was made; wait for the decision."""
        try:
            name = request_name(self._place.node, csr_pem)
        except ValueError as error:
            raise TrustError("the pending request is damaged", why=str(error)) from None
        document = self._make_request(name, csr_pem)
        certificate = judge_request(document, csr_pem, self._place.signer)
        deadline = time.monotonic() + decision_seconds(self._undecided)
        while certificate is None:
            left_seconds = int(deadline - time.monotonic())
            if left_seconds <= 0:
                self._undecided += 1
                raise OperatorUnreachableError(
                    f"the operator has not decided yet about the request {name}",
                    remedy=f"is it running? kubectl describe csr {name}",
                )
            begun = time.monotonic()
            certificate = self._await_decision(name, csr_pem, left_seconds)
            if certificate is None and time.monotonic() - begun < SHORTEST_WATCH_SECONDS:
                time.sleep(SHORTEST_WATCH_SECONDS)  # a server that ends every watch at once
        self._undecided = 0
        return certificate

    @contextmanager
    def _allowed(self) -> Iterator[None]:
        """The API server's own refusals are not the operator's: no request is spent by them."""
        try:
            yield
        except ApiRefusedError as error:
            now_seconds = time.monotonic()
            since = self._refused_since = self._refused_since or now_seconds
            if now_seconds - since < REFUSED_SECONDS:
                raise OperatorUnreachableError(error.what, why=error.why) from None
            raise TrustError(error.what, why=error.why, remedy=error.remedy) from None
        self._refused_since = None

    def _make_request(self, name: str, csr_pem: bytes) -> Document:
        wanted = request_document(name, csr_pem, self._place.signer)
        try:
            return self._connect().create(SIGNING_REQUESTS, wanted)
        except ExistsError:
            return self._connect().read(SIGNING_REQUESTS, name)

    def _await_decision(self, name: str, csr_pem: bytes, seconds: int) -> bytes | None:
        """The certificate; None if nothing was decided so long.

        The watch begins with the object as it is now: a version that was read before is too old
        for a server through which a thousand other requests went meanwhile.
        """
        only = Selection(SIGNING_REQUESTS, fields=f"metadata.name={name}")
        try:
            for event in self._connect().watch(only, "", seconds):
                if event.change is Change.BOOKMARK:
                    continue
                if event.change is Change.DELETED:
                    raise OperatorUnreachableError(
                        f"the request {name} was deleted before it was decided",
                        remedy="the agent makes it again",
                    )
                certificate = judge_request(event.document, csr_pem, self._place.signer)
                if certificate is not None:
                    return certificate
        except GoneError:
            return None
        return None


class KubeConnector:
    """Makes the client when it is needed: the agent may be there before its files are."""

    def __init__(self, place: Place) -> None:
        self._access = place.access
        self._lock = threading.Lock()
        self._client: KubeClient | None = None

    def connect(self) -> KubePort:
        """The client; ConfigError when the CA file cannot be used."""
        with self._lock:
            if self._client is None:
                self._client = KubeClient(self._access)
            return self._client
