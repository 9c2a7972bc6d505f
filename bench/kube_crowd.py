"""Nodes of a Kubernetes cluster in one process: the agent's own code, a real token each.

Each node is a thread that does what an agent's enrolment does, by `KubeEnrolment` itself: read the
trust, make the request, watch it, confirm, and hold the watch on the trust. What a node's kubelet
and installer would do (Node, Pod, TokenRequest) is done before, by an administrator.
"""

import resource
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from geneveil.agent.kube.io import KubeConnector, KubeEnrolment
from geneveil.agent.kube.place import Place
from geneveil.enroll.backoff import backoff_seconds
from geneveil.enroll.port import JoinToken, NodeCredential, WatchAnswer, WatchState
from geneveil.kube.access import KubeAccess, Material
from geneveil.kube.connection.io import Rest
from geneveil.kube.io import read_access
from geneveil.kube.kinds import NODES, PODS
from geneveil.kube.port import Document, Kind
from geneveil.kube.request import Request
from geneveil.model.cluster import KeyType
from geneveil.model.errors import GeneveilError, RefusedError
from geneveil.pki.keys import build_request, encode_key, make_key
from lab.kube import objects
from lab.kube.server import ApiServer

_T = TypeVar("_T")

SETTERS = 8
STACK_BYTES = 256 * 1024
SIGNER = "geneveil.io/node"


@dataclass
class KubeMember:
    """A node of the crowd.

    Attributes:
        latency_seconds: from its first attempt to its certificate, waiting included.
        turned_away: how often it was told to come back later, or got no answer.
        confirmed: it holds the watch, and the operator can know what it has.
        heard_at: when its watch told of a newer trust; a clock that nobody moves.
    """

    place: Place
    chassis: str
    key_pem: bytes
    csr_pem: bytes
    certificate_pem: bytes = b""
    latency_seconds: float = 0.0
    turned_away: int = 0
    confirmed: threading.Event = field(default_factory=threading.Event)
    heard_at: float = 0.0
    refusal: str = ""

    @property
    def serial(self) -> str:
        certificate = x509.load_pem_x509_certificate(self.certificate_pem)
        return f"{certificate.serial_number:040x}"


def make_room() -> None:
    """Let this process have thousands of threads and connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    threading.stack_size(STACK_BYTES)


def make_members(server: ApiServer, count: int) -> list[KubeMember]:
    """Nodes, Pods, their tokens, keys and requests."""
    rest = Rest(read_access(server.kubeconfig()))
    try:
        with ThreadPoolExecutor(SETTERS) as pool:
            return list(pool.map(partial(_make_member, rest, server), range(count)))
    finally:
        rest.close()


def _make_member(rest: Rest, server: ApiServer, number: int) -> KubeMember:
    node, chassis = f"node-{number}", f"chassis-{number}"
    annotations = {"k8s.ovn.org/node-chassis-id": chassis}
    _post(rest, _collection(NODES), objects.node(node, annotations))
    inside = objects.NAMESPACE
    wanted = objects.pod(f"{objects.AGENT}-{node}", inside, objects.AGENT, node)
    pod = _post(rest, _collection(PODS), wanted)
    path = f"/api/v1/namespaces/{inside}/serviceaccounts/{objects.AGENT}/token"
    token = str(_post(rest, path, objects.token_request(pod, 3600))["status"]["token"])
    authority = Material(path=str(server.authority))
    access = KubeAccess(server.url, authority, objects.NAMESPACE, token=token)
    key = make_key(KeyType.ECDSA_P256)
    return KubeMember(
        place=Place(access, inside, node, SIGNER),
        chassis=chassis,
        key_pem=encode_key(key),
        csr_pem=build_request(key, chassis),
    )


def _collection(kind: Kind) -> str:
    inside = f"/namespaces/{objects.NAMESPACE}" if kind.is_namespaced else ""
    return f"/api/v1{inside}/{kind.plural}"


def _post(rest: Rest, path: str, document: Document) -> dict[str, Any]:
    import json

    answer = rest.send(Request("POST", path, f"post {path}", json.dumps(document).encode()))
    made: dict[str, Any] = json.loads(answer)
    return made


class Crowd:
    """All members at once; a thread each."""

    def __init__(self, members: Sequence[KubeMember]) -> None:
        self.members = members
        self._go = threading.Event()
        self._threads = [
            threading.Thread(target=self._live, args=(member,), daemon=True) for member in members
        ]
        for thread in self._threads:
            thread.start()

    def begin(self) -> None:
        """Let them go."""
        self._go.set()

    def enrol(self, seconds: float) -> float:
        """Let them go; says after how many seconds the last one held its watch."""
        began = time.monotonic()
        self.begin()
        for member in self.members:
            if not member.confirmed.wait(max(began + seconds - time.monotonic(), 0.01)):
                left = sum(not one.confirmed.is_set() for one in self.members)
                raise RuntimeError(f"{left} of {len(self.members)} nodes are not served yet")
        refused = [member.refusal for member in self.members if member.refusal]
        if refused:
            raise RuntimeError(f"nodes were refused: {refused[:3]}")
        return time.monotonic() - began

    def heard(self, seconds: float) -> float:
        """Wait until each heard of a newer trust; when the last one did."""
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.01))
        if not all(member.heard_at for member in self.members):
            raise RuntimeError("not every node heard of the revocation")
        return max(member.heard_at for member in self.members)

    def _live(self, member: KubeMember) -> None:
        self._go.wait()
        try:
            enrolment = KubeEnrolment(member.place, KubeConnector(member.place).connect)
            bundle_pem = _enrol(member, enrolment)
            _hold(member, enrolment, bundle_pem)
        except GeneveilError as error:
            member.refusal = error.render()
            member.confirmed.set()


def _enrol(member: KubeMember, enrolment: KubeEnrolment) -> bytes:
    began = time.monotonic()
    token = JoinToken(member.chassis, b"", b"", b"")
    bundle_pem = _insist(member, lambda: enrolment.fetch_bootstrap(b"")).trust_bundle_pem
    granted = _insist(member, lambda: enrolment.enrol(token, member.csr_pem, bundle_pem))
    member.certificate_pem = granted.certificate_pem
    member.latency_seconds = time.monotonic() - began
    return granted.trust_bundle_pem


def _hold(member: KubeMember, enrolment: KubeEnrolment, bundle_pem: bytes) -> None:
    """As an agent does: say what it has, then say it of the newest generation, and wait."""
    credential = NodeCredential(member.key_pem, member.certificate_pem)
    state = WatchState(0, _fingerprints(bundle_pem), (), member.serial)
    while True:
        answer = _insist(member, partial(enrolment.watch, state, credential, bundle_pem))
        if member.confirmed.is_set() and answer.generation != state.generation:
            member.heard_at = time.monotonic()
            return
        is_told = state.generation == answer.generation
        state = WatchState(answer.generation, state.trusts, _numbers(answer), state.serial)
        if not is_told:
            # from here on it waits; the writing of this confirmation is part of the next call
            member.confirmed.set()


def _insist(member: KubeMember, ask: Callable[[], _T]) -> _T:
    """Ask until there is an answer; the operator's own refusal ends it, as it does an agent's."""
    attempts = 0
    while True:
        try:
            return ask()
        except RefusedError:
            raise
        except GeneveilError as error:
            attempts += 1
            member.turned_away += 1
            asked = getattr(error, "retry_after_seconds", 0.0)
            time.sleep(backoff_seconds(member.chassis, attempts, asked))


def _fingerprints(bundle_pem: bytes) -> tuple[str, ...]:
    bundle = x509.load_pem_x509_certificates(bundle_pem)
    return tuple(one.fingerprint(hashes.SHA256()).hex() for one in bundle)


def _numbers(answer: WatchAnswer) -> tuple[tuple[str, int], ...]:
    numbers = []
    for pem in answer.crls_pem:
        crl = x509.load_pem_x509_crl(pem)
        numbers.append(crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)
    return tuple(zip(_fingerprints(answer.trust_bundle_pem), numbers, strict=False))
