"""Nodes of a Kubernetes cluster in one process: the requests of an agent, a real token each.

What a node's kubelet and installer would do (Node, Pod, TokenRequest) is done before, by an
administrator. Then all nodes begin at once, in one event loop beside the caller's thread.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from bench.kube_agent import KubeMember, SimulatedAgent
from bench.kube_http import CONNECTING_AT_ONCE, NodeHttp, trusted_context
from bench.kube_report import Peers
from geneveil.agent.kube.place import Place
from geneveil.kube.access import KubeAccess, Material
from geneveil.kube.connection.io import Rest
from geneveil.kube.io import read_access
from geneveil.kube.kinds import NODES, PODS
from geneveil.kube.port import Document, Kind
from geneveil.kube.request import Request
from geneveil.model.cluster import KeyType
from geneveil.pki.keys import build_request, encode_key, make_key
from lab.kube import objects
from lab.kube.server import ApiServer

SETTERS = 8
SIGNER = "geneveil.io/node"
TOKEN_SECONDS = 4 * 3600
_LOOK_SECONDS = 0.2
_CLOSING_SECONDS = 30.0

Tell = Callable[[int], None]


def _tell_nobody(count: int) -> None:
    """For callers that show no progress."""


def make_members(server: ApiServer, count: int, tell: Tell = _tell_nobody) -> list[KubeMember]:
    """Nodes, Pods, their tokens, keys and requests.

    Args:
        tell: is told how many there are so far.
    """
    rest = Rest(read_access(server.kubeconfig()))
    members: list[KubeMember] = []
    pool = ThreadPoolExecutor(SETTERS)
    try:
        for member in pool.map(partial(_make_member, rest, server), range(count)):
            members.append(member)
            tell(len(members))
    finally:
        pool.shutdown(cancel_futures=True)
        rest.close()
    return members


def _make_member(rest: Rest, server: ApiServer, number: int) -> KubeMember:
    node, chassis = f"node-{number}", f"chassis-{number}"
    annotations = {"k8s.ovn.org/node-chassis-id": chassis}
    _post(rest, _collection(NODES), objects.node(node, annotations))
    inside = objects.NAMESPACE
    wanted = objects.pod(f"{objects.AGENT}-{node}", inside, objects.AGENT, node)
    pod = _post(rest, _collection(PODS), wanted)
    path = f"/api/v1/namespaces/{inside}/serviceaccounts/{objects.AGENT}/token"
    token = str(_post(rest, path, objects.token_request(pod, TOKEN_SECONDS))["status"]["token"])
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
    answer = rest.send(Request("POST", path, f"post {path}", json.dumps(document).encode()))
    made: dict[str, Any] = json.loads(answer)
    return made


class Crowd:
    """All members at once, in a thread with an event loop; use it as a context."""

    def __init__(self, members: Sequence[KubeMember]) -> None:
        self.members = members
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="crowd", daemon=True)
        self._lives: list[asyncio.Task[None]] = []

    def __enter__(self) -> "Crowd":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        with suppress(TimeoutError):  # the thread ends with the process; nobody waits for thousands
            ending.result(_CLOSING_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSING_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    def begin(self) -> None:
        """Let them go, if they have not gone yet."""
        asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()

    def enrol(self, seconds: float, tell: Tell = _tell_nobody) -> float:
        """Let them go; says after how many seconds the last one held its watch.

        Args:
            tell: is told how many hold theirs.
        """
        began = time.monotonic()
        self.begin()
        while (served := self.served) < len(self.members):
            self._check(began + seconds, f"{served} of {len(self.members)} nodes are served")
            tell(served)
            time.sleep(_LOOK_SECONDS)
        tell(served)
        return time.monotonic() - began

    @property
    def served(self) -> int:
        """How many hold their watch and have heard what there is."""
        return sum(member.is_served for member in self.members)

    @property
    def said(self) -> int:
        """How many have said that they have it: see `CONFIRMATION_SECONDS`."""
        return sum(member.has_said for member in self.members)

    def forget(self) -> None:
        """Nobody has heard of anything, nor said so."""
        for member in self.members:
            member.heard_at, member.is_served, member.has_said = 0.0, False, False

    def heard(self, seconds: float) -> float:
        """Wait until all heard of a newer trust since `forget`; when the last of them did."""
        until = time.monotonic() + seconds
        while (count := sum(bool(one.heard_at) for one in self.members)) < len(self.members):
            self._check(until, f"{count} of {len(self.members)} nodes heard of the revocation")
            time.sleep(_LOOK_SECONDS)
        return max(member.heard_at for member in self.members)

    def _check(self, until: float, what: str) -> None:
        refused = [member.refusal for member in self.members if member.refusal]
        if refused:
            raise RuntimeError(f"{len(refused)} nodes were refused: {refused[:3]}")
        broken = [life for life in self._lives if life.done() and not life.cancelled()]
        if broken:
            raise RuntimeError(f"{len(broken)} nodes ended: {broken[0].exception()!r}")
        if time.monotonic() > until:
            raise RuntimeError(f"{what} in time")

    async def _begin(self) -> None:
        if self._lives:
            return
        members = self.members
        tls, gate = trusted_context(members[0].place.access), asyncio.Semaphore(CONNECTING_AT_ONCE)
        certified = _Count(members)
        peers = Peers(len(members) - 1, lambda: certified.value - 1)
        agents = [
            SimulatedAgent(one, NodeHttp(one.place.access, tls, gate), peers) for one in members
        ]
        self._lives = [asyncio.create_task(agent.live()) for agent in agents]
        self._lives.append(asyncio.create_task(certified.keep()))

    async def _end(self) -> None:
        for life in self._lives:
            life.cancel()
        await asyncio.gather(*self._lives, return_exceptions=True)


class _Count:
    """How many have a certificate, counted now and then: five thousand ask."""

    def __init__(self, members: Sequence[KubeMember]) -> None:
        self._members = members
        self.value = 0

    async def keep(self) -> None:
        while True:
            self.value = sum(bool(member.certificate_pem) for member in self._members)
            await asyncio.sleep(1)
