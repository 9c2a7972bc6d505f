"""What one agent asks of an API server, without its threads: thousands fit into one process.

The objects, requests, waits and the pace are the agent's own pure functions; what is written again
here is the order in which `KubeEnrolment`, `TrustFollower` and `Watcher` use them (and `Reporter`,
see `kube_report`). A test compares what both ask of a real API server:
tests/kube/test_simulated_agents.py.
"""

import asyncio
import time
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from bench.kube_http import NodeHttp
from bench.kube_report import Peers, PlayedReport
from geneveil.agent.enrolment import retry_seconds
from geneveil.agent.kube.follow.io import stream_seconds
from geneveil.agent.kube.io import UNCONFIRMED_HOLD_SECONDS
from geneveil.agent.kube.news import TRUST_KEY, News, parse_news
from geneveil.agent.kube.node_ipsec import TRUST_MANAGER, confirmation_document
from geneveil.agent.kube.pace import confirmation_wait_seconds, decision_seconds
from geneveil.agent.kube.place import Place
from geneveil.agent.kube.request import judge_request, request_document, request_name
from geneveil.enroll.backoff import backoff_seconds
from geneveil.enroll.port import WatchState
from geneveil.kube.errors import ApiRefusedError, ExistsError, GoneError, MissingError
from geneveil.kube.kinds import CONFIG_MAPS, NODE_IPSECS, SIGNING_REQUESTS, TRUST_CONFIG_MAP
from geneveil.kube.port import Change, Document, Selection
from geneveil.kube.request import (
    Request,
    apply_request,
    create_request,
    read_request,
    watch_request,
)
from geneveil.model.errors import GeneveilError, OperatorUnreachableError, RefusedError


@dataclass
class KubeMember:
    """A node of the crowd, and what it met.

    Attributes:
        latency_seconds: from its first attempt to its certificate, waiting included.
        turned_away: how often it was told to come back later, or got no answer.
        is_served: it holds the watch, and has heard what there is.
        has_said: and the operator can know that it has.
        heard_at: when its watch told of a newer trust; a clock that nobody moves.
    """

    place: Place
    chassis: str
    key_pem: bytes
    csr_pem: bytes
    certificate_pem: bytes = b""
    latency_seconds: float = 0.0
    turned_away: int = 0
    is_served: bool = False
    has_said: bool = False
    heard_at: float = 0.0
    refusal: str = ""

    @property
    def serial(self) -> str:
        certificate = x509.load_pem_x509_certificate(self.certificate_pem)
        return f"{certificate.serial_number:040x}"


class SimulatedAgent:
    """One member's life, from its first request on; runs until it is cancelled."""

    def __init__(self, member: KubeMember, http: NodeHttp, peers: Peers) -> None:
        self.member = member
        self._http = http
        self._place = member.place
        self._follower = _Follower(member.place, http)
        self._confirmed: WatchState | None = None
        self._unsaid_since: float | None = None
        self._undecided = 0
        self._report = PlayedReport(member.place.node, member.chassis, http, peers)

    async def live(self) -> None:
        """As an agent that was just started on a new node."""
        report = asyncio.create_task(self._report.live())
        try:
            bundle_pem = await self._enrol()
            await self._hold(bundle_pem)
        except RefusedError as error:
            self.member.refusal = error.render()
        finally:
            await _end(report)
            await self._follower.end()
            await self._http.close()

    async def _enrol(self) -> bytes:
        """See `geneveil.agent.io`: all of it again after a failure; the same key and request."""
        member, began = self.member, time.monotonic()
        attempts = 0
        while True:
            try:
                await self._read_news()
                member.certificate_pem = await self._ask()
                news = await self._read_news()
                member.latency_seconds = time.monotonic() - began
                self._report.certified()
                return news.answer.trust_bundle_pem
            except GeneveilError as error:
                # the API server's own refusals are not the operator's: they are tried again
                if isinstance(error, RefusedError) and not isinstance(error, ApiRefusedError):
                    raise
                attempts += 1
                member.turned_away += 1
                asked = getattr(error, "retry_after_seconds", 0.0)
                await asyncio.sleep(max(asked, retry_seconds(member.chassis, attempts)))

    async def _ask(self) -> bytes:
        member, signer = self.member, self._place.signer
        name = request_name(self._place.node, member.csr_pem)
        try:
            wanted = request_document(name, member.csr_pem, signer)
            document = await self._http.send(create_request(SIGNING_REQUESTS, wanted))
        except ExistsError:
            document = await self._http.send(read_request(SIGNING_REQUESTS, name))
        certificate = judge_request(document, member.csr_pem, signer)
        deadline = time.monotonic() + decision_seconds(self._undecided)
        while certificate is None:
            left_seconds = int(deadline - time.monotonic())
            if left_seconds <= 0:
                self._undecided += 1
                raise OperatorUnreachableError("the operator has not decided yet")
            with suppress(GoneError):
                certificate = await self._await_decision(name, left_seconds)
        return certificate

    async def _await_decision(self, name: str, seconds: int) -> bytes | None:
        only = Selection(SIGNING_REQUESTS, fields=f"metadata.name={name}")
        async with aclosing(self._http.watch(watch_request(only, "", seconds))) as events:
            async for event in events:
                if event.change is Change.BOOKMARK:
                    continue
                if event.change is Change.DELETED:
                    raise OperatorUnreachableError(f"the request {name} was deleted")
                certificate = judge_request(event.document, self.member.csr_pem, self._place.signer)
                if certificate is not None:
                    return certificate
        return None

    async def _read_news(self) -> News:
        return parse_known(await self._http.send(_trust_request(self._place)))

    async def _hold(self, bundle_pem: bytes) -> None:
        """Say what it has, hear what is news, and say that it has that when it is due."""
        member = self.member
        state = WatchState(0, _fingerprints(bundle_pem), (), member.serial)
        while True:
            news = await self._insist(state)
            if news.answer.generation == state.generation:
                continue
            if state.generation:
                member.heard_at = time.monotonic()
            state = replace(state, generation=news.answer.generation, crls=_numbers(news))
            member.is_served = True

    async def _insist(self, state: WatchState) -> News:
        attempts = 0
        while True:
            try:
                hold_seconds = await self._confirm(state)
                self.member.has_said = bool(state.generation) and state == self._confirmed
                with suppress(TimeoutError):
                    news = self._follower.await_news(state.generation)
                    return await asyncio.wait_for(news, hold_seconds)
            except GeneveilError as error:
                self._confirmed = None
                attempts += 1
                self.member.turned_away += 1
                asked = getattr(error, "retry_after_seconds", 0.0)
                seed = f"watch {self.member.chassis}"
                await asyncio.sleep(backoff_seconds(seed, attempts, asked))

    async def _confirm(self, state: WatchState) -> float | None:
        """See `KubeEnrolment`; None for no end of the wait."""
        if state == self._confirmed:
            self._unsaid_since = None
            return None
        now_seconds = time.monotonic()
        if self._unsaid_since is None:
            self._unsaid_since = now_seconds
        age_seconds = now_seconds - self._unsaid_since
        wait = confirmation_wait_seconds(self._place.node, state, self._confirmed, age_seconds)
        if wait > 0:
            return wait
        document = confirmation_document(self._place.node, state)
        try:
            await self._http.send(apply_request(NODE_IPSECS, document, TRUST_MANAGER, "status"))
        except MissingError:
            return UNCONFIRMED_HOLD_SECONDS
        self._confirmed, self._unsaid_since = state, None
        return None


class _Follower:
    """See `TrustFollower`: follows while it is asked, and after a failure not until then."""

    def __init__(self, place: Place, http: NodeHttp) -> None:
        self._place, self._http = place, http
        self._changed = asyncio.Condition()
        self._news: News | None = None
        self._failure: GeneveilError | None = None
        self._task: asyncio.Task[None] | None = None

    async def await_news(self, generation: int) -> News:
        async with self._changed:
            self._failure = None
            if self._task is None:
                self._task = asyncio.create_task(self._run())
            while self._news is None or self._news.answer.generation == generation:
                await self._changed.wait()
                if self._failure is not None:
                    raise self._failure
            return self._news

    async def end(self) -> None:
        if self._task is not None:
            await _end(self._task)

    async def _run(self) -> None:
        try:
            while True:
                await self._read_and_watch()
        except GeneveilError as error:
            async with self._changed:
                self._failure, self._news, self._task = error, None, None
                self._changed.notify_all()

    async def _read_and_watch(self) -> None:
        await self._tell(await self._http.send(_trust_request(self._place)))
        version, rounds = "", 0
        while True:
            rounds += 1
            seconds = stream_seconds(f"{self._place.node} {rounds}")
            request = watch_request(self._place.trust, version, seconds)
            try:
                async with aclosing(self._http.watch(request)) as events:
                    async for event in events:
                        version = event.version
                        if event.change is Change.DELETED:
                            raise MissingError("the trust was deleted")
                        if event.change is not Change.BOOKMARK:
                            await self._tell(event.document)
            except GoneError:
                if version:
                    return

    async def _tell(self, document: Document) -> None:
        news = parse_known(document)
        async with self._changed:
            self._news = news
            self._changed.notify_all()


def parse_known(config_map: Document) -> News:
    """`parse_news`; what all nodes are told is read once for all."""
    return _parse(config_map["data"][TRUST_KEY])


@lru_cache(maxsize=16)
def _parse(text: str) -> News:
    return parse_news({"data": {TRUST_KEY: text}})


def _trust_request(place: Place) -> Request:
    return read_request(CONFIG_MAPS, TRUST_CONFIG_MAP, place.namespace)


@lru_cache(maxsize=16)
def _fingerprints(bundle_pem: bytes) -> tuple[str, ...]:
    bundle = x509.load_pem_x509_certificates(bundle_pem)
    return tuple(one.fingerprint(hashes.SHA256()).hex() for one in bundle)


def _numbers(news: News) -> tuple[tuple[str, int], ...]:
    return _numbers_of(news.answer.trust_bundle_pem, news.answer.crls_pem)


@lru_cache(maxsize=16)
def _numbers_of(bundle_pem: bytes, crls_pem: tuple[bytes, ...]) -> tuple[tuple[str, int], ...]:
    numbers = []
    for pem in crls_pem:
        crl = x509.load_pem_x509_crl(pem)
        numbers.append(crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)
    return tuple(zip(_fingerprints(bundle_pem), numbers, strict=False))


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
