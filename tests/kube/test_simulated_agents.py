"""The agents that benchmarks play ask a real API server what an agent's own code asks it."""

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from bench.kube_agent import KubeMember
from bench.kube_crowd import Crowd, make_members
from bench.kube_report import played_status
from geneveil.agent.kube.io import KubeConnector, KubeEnrolment
from geneveil.agent.kube.node_ipsec import STATUS_MANAGER, TRUST_MANAGER
from geneveil.agent.kube.report.io import Reporter
from geneveil.agent.rotation.crls import parse_crls
from geneveil.agent.rotation.io import Confirmation, Watcher
from geneveil.agent.rotation.watch import fingerprints
from geneveil.agent.store import CERTIFICATE, CRLS, KEY, TRUST_BUNDLE, NodeStore
from geneveil.enroll.port import JoinToken
from geneveil.kube.io import open_client
from geneveil.kube.kinds import NODE_IPSECS
from geneveil.kube.port import Selection
from geneveil.pki.keyfiles import NamedBytes, parse_bundle
from lab.kube.arguments import Programs
from lab.kube.cluster import make_namespace
from lab.kube.server import ApiServer
from tests.kube.operator_bench import WAIT_SECONDS, install, replica, switch_on, wait_for
from tests.kube.unreliable_api import Asked, UnreliableApi, unreliable

Group = tuple[str, str]
Voice = dict[Group, list[tuple[str, dict[str, str]]]]

_OF_THE_CONNECTION = {"host", "content-length", "connection"}
_ALL_ASKED = {
    ("GET", "configmaps/geneveil-trust"): 3,  # before and after its certificate, and to follow
    ("POST", "certificatesigningrequests"): 1,
    ("GET", "certificatesigningrequests"): 1,  # the watch
    ("GET", "configmaps"): 1,  # the watch
    ("PATCH", "nodeipsecs/NODE/status"): 4,  # trust: unheard, in charon; status: two
    ("GET", "nodeipsecs/NODE"): 1,
}


class _Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture
def api(kube_programs: Programs, tmp_path: Path) -> Iterator[UnreliableApi]:
    with ApiServer.start(tmp_path / "kube", kube_programs) as server:
        make_namespace(server)
        install(server, kube_programs.helm)
        switch_on(open_client(server.kubeconfig()))
        with replica(server, tmp_path, "a") as operator:
            wait_for("it leads", lambda: operator.said('event="trust-published"'))
            with unreliable(server) as way:
                yield way
        server.kill_api_server()  # it would wait for the watches


def test_a_played_agent_asks_what_an_agent_asks(api: UnreliableApi, tmp_path: Path) -> None:
    members = [_behind(api, member) for member in make_members(api.server, 2)]
    admin = open_client(api.server.kubeconfig())
    wait_for("NodeIPsecs", lambda: len(admin.list_all(Selection(NODE_IPSECS)).items) == 2)
    own, played = members
    with _agent(own, tmp_path / "state", lambda: _voice(api, own)), Crowd([played]) as crowd:
        crowd.enrol(4 * WAIT_SECONDS)
        for member in members:
            _wait_for_all(partial(_voice, api, member))
        assert _voice(api, played) == _voice(api, own)


@contextmanager
def _agent(member: KubeMember, folder: Path, voice: Callable[[], Voice]) -> Iterator[None]:
    """The agent's own threads, told what its loop would tell them."""
    place = member.place
    connect = KubeConnector(place).connect
    enrolment = KubeEnrolment(place, connect)
    reporter = Reporter(place, connect, _Clock(), enrolment.confirm_anew)
    reporter.start()
    reporter.tell(replace(played_status(False, True), chassis=member.chassis))
    folder.mkdir()
    store, woken = NodeStore(folder), threading.Event()
    bundle_pem = enrolment.fetch_bootstrap(b"").trust_bundle_pem
    token = JoinToken(member.chassis, b"", b"", b"")
    got = enrolment.enrol(token, member.csr_pem, bundle_pem)
    member.certificate_pem = got.certificate_pem
    for name, data in (
        (KEY, member.key_pem),
        (TRUST_BUNDLE, got.trust_bundle_pem),
        (CERTIFICATE, got.certificate_pem),
    ):
        store.write(name, data)
    watcher = Watcher(lambda: enrolment, store, _Clock(), woken.set)
    watcher.start()
    bundle = parse_bundle(NamedBytes("bundle", got.trust_bundle_pem))
    has = Confirmation(member.chassis, fingerprints(bundle), (), member.serial, ())
    watcher.update(has)
    crls = wait_for("lists", lambda: parse_crls(store.read(CRLS) or b"", bundle, "crls"))
    watcher.update(replace(has, crls=((has.trusts[0], crls[0].number),)))
    # at each turn, as the loop does
    status = replace(played_status(True, True), chassis=member.chassis)
    _wait_for_writings(voice, STATUS_MANAGER, 2, lambda: reporter.tell(status))
    try:
        yield
    finally:
        watcher.update(None)
        enrolment.close()


def _wait_for_all(voice: Callable[[], Voice]) -> None:
    with suppress(AssertionError):  # the next line says what was asked instead
        wait_for("all requests", lambda: _counts(voice()) == _ALL_ASKED)
    assert _counts(voice()) == _ALL_ASKED


def _wait_for_writings(
    voice: Callable[[], Voice], manager: str, count: int, turn: Callable[[], None] = lambda: None
) -> None:
    def are_written() -> bool:
        turn()
        patches = voice().get(("PATCH", "nodeipsecs/NODE/status"), [])
        return sum(f"fieldManager={manager}&" in path for path, _ in patches) == count

    wait_for(f"{count} writings of {manager}", are_written)


def _behind(api: UnreliableApi, member: KubeMember) -> KubeMember:
    access = replace(member.place.access, server=api.url)
    return replace(member, place=replace(member.place, access=access))


def _voice(api: UnreliableApi, member: KubeMember) -> Voice:
    """What one node asked: in order for each object, for its threads run side by side."""
    whose = f"Bearer {member.place.access.token}"
    found: Voice = defaultdict(list)
    for asked in list(api.asked):
        if asked.headers.get("authorization") == whose:
            path = _unnamed(asked, member.place.node)
            headers = {k: v for k, v in asked.headers.items() if k not in _OF_THE_CONNECTION}
            headers["authorization"] = "Bearer …"
            found[asked.method, _object(path)].append((path, headers))
    # of two threads, which each write their own fields
    for group in found.values():
        group.sort(key=lambda one: TRUST_MANAGER in one[0])
    return dict(found)


def _counts(voice: Voice) -> dict[Group, int]:
    return {group: len(requests) for group, requests in voice.items()}


def _unnamed(asked: Asked, node: str) -> str:
    path = re.sub(r"timeoutSeconds=\d+", "timeoutSeconds=N", asked.path)
    return re.sub(rf"{node}(-[0-9a-f]+)?", "NODE", path)


def _object(path: str) -> str:
    plain = path.partition("?")[0]
    return re.sub(
        r"^/apis?/(certificates.k8s.io/|geneveil.io/)?v1\w*/(namespaces/[^/]+/)?", "", plain
    )
