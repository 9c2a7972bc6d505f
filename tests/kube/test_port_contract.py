"""The client on a real API server: the cases by which stand-ins are judged, and its credentials."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geneveil.agent.kube.follow import io as follow_io
from geneveil.agent.kube.follow.io import TrustFollower
from geneveil.agent.kube.news import TRUST_KEY
from geneveil.agent.kube.place import Place
from geneveil.kube.access import KubeAccess, Material
from geneveil.kube.connection import io as connection_io
from geneveil.kube.errors import GoneError
from geneveil.kube.io import KubeClient, open_client
from geneveil.kube.kinds import CONFIG_MAPS, TRUST_CONFIG_MAP
from geneveil.kube.loop import Sink, start_following
from geneveil.kube.port import Change, Document, Kind, Listing, Selection, WatchEvent
from geneveil.model.errors import GeneveilError, OperatorUnreachableError
from lab.kube.cluster import await_established, make_agent_pod, make_node, request_token
from lab.kube.server import ApiServer
from tests.kube.operator_bench import TOP, WAIT_SECONDS, wait_for
from tests.kube_port_contract import CASES, NAMESPACE, Subject, config_map
from tests.unit.test_agent_kube_io import trust

SELF = Kind(
    "authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", is_namespaced=False
)
POD = "authentication.kubernetes.io/pod-name"


@pytest.fixture(scope="module")
def served(api_server: ApiServer) -> ApiServer:
    """With the CRDs that a case needs."""
    done = api_server.kubectl("apply", "--server-side", "-f", str(TOP / "deploy/crds"))
    assert done.returncode == 0, done.stderr
    await_established(api_server, "crd/nodeipsecs.geneveil.io")
    return api_server


@pytest.fixture
def client(served: ApiServer) -> Iterator[KubeClient]:
    opened = open_client(served.kubeconfig())
    yield opened
    opened.close()


@pytest.mark.parametrize("case", [name for name in CASES if "gone" not in CASES[name].needs])
def test_the_client_and_an_api_server(client: KubeClient, case: str) -> None:
    def change(document: Document) -> None:
        client.replace(CONFIG_MAPS, document)

    def remove(name: str) -> None:
        client.delete(CONFIG_MAPS, name, NAMESPACE)

    CASES[case].check(Subject(client, frozenset(), change, remove), case)


def test_an_api_server_that_was_started_since_has_forgotten(own_api_server: ApiServer) -> None:
    server = own_api_server
    client = open_client(server.kubeconfig())

    def change(document: Document) -> None:
        client.replace(CONFIG_MAPS, document)

    def forget() -> None:
        # its memory of changes begins at what is there when it starts
        server.kill_api_server()
        server.start_all()

    subject = Subject(client, frozenset(), change, lambda name: None, forget)
    CASES["forgotten"].check(subject, "forgotten")
    _follows_on_from_a_version_that_is_gone(client)
    _hears_trust_after_a_version_that_is_gone(server, client)


class Aged(KubeClient):
    """Each watch that would go on from a version goes on from the first there ever was, once."""

    told_gone = 0

    def watch(self, selection: Selection, version: str, seconds: int = 300) -> Iterator[WatchEvent]:
        is_aged = bool(version) and not self.told_gone
        try:
            yield from super().watch(selection, "1" if is_aged else version, seconds)
        except GoneError:
            self.told_gone += 1
            raise


def _follows_on_from_a_version_that_is_gone(admin: KubeClient) -> None:
    aged, stop = Aged(admin.access), threading.Event()
    heard: list[str] = []

    def replaced(listing: Listing) -> None:
        heard.append("list")

    def changed(change: Change, document: Document) -> None:
        heard.append(str(document["metadata"]["name"]))

    failed: list[GeneveilError] = []
    sink = Sink(replaced, changed, failed.append)
    thread = start_following(aged, Selection(CONFIG_MAPS, NAMESPACE), sink, stop)
    wait_for("it lists again", lambda: heard.count("list") == 2)
    admin.create(CONFIG_MAPS, config_map("after"))
    wait_for("it hears", lambda: "after" in heard)
    assert (aged.told_gone, failed) == (1, [])
    stop.set()
    aged.close()
    thread.join(WAIT_SECONDS)


def _hears_trust_after_a_version_that_is_gone(server: ApiServer, admin: KubeClient) -> None:
    """As an agent whose stream ended when the server had forgotten what it was at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follow_io, "stream_seconds", lambda seed: 2)
        published = {**config_map(TRUST_CONFIG_MAP), "data": trust(1)["data"]}
        admin.create(CONFIG_MAPS, published)
        aged = Aged(admin.access)
        place = Place(admin.access, NAMESPACE, "node", "geneveil.io/node")
        follower = TrustFollower(place, lambda: aged)
        assert follower.await_news(0, WAIT_SECONDS)[0].answer.generation == 1
        wait_for("it is told 410", lambda: aged.told_gone)
        admin.replace(CONFIG_MAPS, {**published, "data": {TRUST_KEY: trust(2)["data"][TRUST_KEY]}})
        assert _await(follower, 1) == 2
        aged.close()


def _await(follower: TrustFollower, generation: int) -> int:
    def hear() -> int:
        try:
            return follower.await_news(generation, WAIT_SECONDS)[0].answer.generation
        except OperatorUnreachableError:
            return 0  # as an agent it asks again

    return wait_for("news", hear)


def test_a_token_is_taken_from_its_file_before_it_ends_and_when_it_did(
    served: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_node(served, "renews")
    pods = [make_agent_pod(served, "renews", name=f"renews-{number}") for number in range(3)]
    tokens = [request_token(served, pod) for pod in pods]
    file = tmp_path / "token"
    file.write_text(tokens[0])
    authority = Material(path=str(served.authority))
    client = KubeClient(KubeAccess(served.url, authority, NAMESPACE, token_file=str(file)))
    assert _who(client) == "renews-0"
    # the kubelet puts another there while the first is still good
    monkeypatch.setattr(connection_io, "TOKEN_AGE_SECONDS", 0.0)
    file.write_text(tokens[1])
    assert _who(client) == "renews-1"
    # and one that ended before the file was looked at again is not the end
    monkeypatch.setattr(connection_io, "TOKEN_AGE_SECONDS", 3600.0)
    file.write_text(tokens[2])
    names = ("-n", NAMESPACE, "renews-1")
    done = served.kubectl("delete", "pod", *names, "--grace-period=0", "--force")
    assert done.returncode == 0, done.stderr
    wait_for("the second token ends", lambda: _who(client) == "renews-2")
    client.close()


def _who(client: KubeClient) -> str:
    """The Pod that the API server takes us for."""
    answer: dict[str, Any] = client.create(SELF, {"metadata": {"name": "me"}})
    extra = answer["status"]["userInfo"]["extra"]
    return str(extra[POD][0])
