"""The API server slow, busy, forgetful, away in a burst: nothing is lost, nothing done twice."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.kube_crowd import Crowd, make_members
from geneveil.kube.io import KubeClient, open_client
from geneveil.kube.kinds import CONFIG_MAPS
from geneveil.kube.port import Selection
from lab.kube.arguments import Programs
from lab.kube.cluster import make_namespace
from lab.kube.objects import OPERATOR, pod, token_request
from lab.kube.server import ApiServer
from tests.kube.operator_bench import (
    NAMESPACE,
    WAIT_SECONDS,
    FakeAgent,
    OperatorReplica,
    install,
    make_csr,
    operator_kubeconfig,
    replica,
    switch_on,
    wait_for,
)
from tests.kube.unreliable_api import Fault, UnreliableApi, unreliable

LEDGERS = f"/namespaces/{NAMESPACE}/configmaps"
REQUESTS = "/certificatesigningrequests"
LEASES = "/leases/"


@dataclass
class Cluster:
    server: ApiServer
    admin: KubeClient
    api: UnreliableApi
    operator: OperatorReplica


@pytest.fixture(scope="module")
def server(
    kube_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    with ApiServer.start(tmp_path_factory.mktemp("unreliable"), kube_programs) as started:
        make_namespace(started)
        install(started, kube_programs.helm)
        switch_on(open_client(started.kubeconfig()))
        yield started


@pytest.fixture(scope="module")
def cluster(server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One operator, which meets all the faults one after another."""
    folder = tmp_path_factory.mktemp("operator")
    with unreliable(server) as api:
        config = folder / "kubeconfig"
        text = operator_kubeconfig(server).read_text()
        assert server.url in text
        config.write_text(text.replace(server.url, api.url))
        with replica(server, folder, "a", config=config) as operator:
            wait_for("it leads", lambda: operator.said('event="trust-published"'))
            yield Cluster(server, open_client(server.kubeconfig()), api, operator)


def _check_nothing_twice(admin: KubeClient) -> dict[str, list[str]]:
    """Chassis -> serials, as the ledger has them."""
    found = {}
    selection = Selection(CONFIG_MAPS, NAMESPACE, labels="geneveil.io/ledger=node")
    for document in admin.list_all(selection).items:
        ledger = json.loads(document["data"]["ledger.json"])
        found[ledger["chassis"]] = [one["serial"] for one in ledger["certificates"]]
    serials = [serial for each in found.values() for serial in each]
    assert len(set(serials)) == len(serials)
    return found


FAULTS: dict[str, tuple[Fault, ...]] = {
    "every write half a second late": (
        Fault("POST", LEDGERS, times=3, late_seconds=0.5),
        Fault("PUT", "/approval", times=3, late_seconds=0.5),
        Fault("PUT", "/status", times=3, late_seconds=0.5),
    ),
    "a ledger so late that it is given up": (Fault("POST", LEDGERS, late_seconds=6),),
    "a certificate so late that it is given up": (Fault("PUT", "/status", late_seconds=6),),
    "the answer to a ledger is lost": (Fault("POST", LEDGERS, is_lost=True),),
    "the answer to an approval is lost": (Fault("PUT", "/approval", is_lost=True),),
    "the answer to a certificate is lost": (Fault("PUT", "/status", is_lost=True),),
    "429 for ledgers": (
        Fault("POST", LEDGERS, 2, 429, "TooManyRequests", retry_after="1"),
        Fault("PUT", "/approval", 2, 429, "TooManyRequests", retry_after="1"),
        Fault("PUT", "/status", 2, 429, "TooManyRequests", retry_after="1"),
    ),
    "429 for the lease": (Fault("PUT", LEASES, 2, 429, "TooManyRequests", retry_after="1"),),
    "500 and 503": (
        Fault("POST", LEDGERS, 1, 500, "InternalError"),
        Fault("PUT", "/approval", 1, 503, "ServiceUnavailable"),
        Fault("PUT", "/status", 1, 504, "Timeout"),
    ),
    "409 for a ledger": (Fault("POST", LEDGERS, 1, 409, "AlreadyExists"),),
    "409 for answers": (
        Fault("PUT", "/approval", 1, 409, "Conflict"),
        Fault("PUT", "/status", 1, 409, "Conflict"),
    ),
}


def _enrol(cluster: Cluster, name: str, count: int = 3) -> None:
    agents = [FakeAgent(cluster.server, f"{name}-{n}", f"c-{name}-{n}") for n in range(count)]
    names = [agent.ask(make_csr(agent.chassis)) for agent in agents]
    for agent, request in zip(agents, names, strict=True):
        wait_for(
            f"a certificate for {request}",
            lambda: agent.certificate(request),  # noqa: B023
        )
    ledgers = _check_nothing_twice(cluster.admin)
    assert [len(ledgers[agent.chassis]) for agent in agents] == [1] * count


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=list(FAULTS))
def test_answers_that_are_late_lost_or_refusals(cluster: Cluster, number: int) -> None:
    cluster.api.arm(*list(FAULTS.values())[number])
    _enrol(cluster, f"f{number}")
    wait_for("every fault happened", lambda: cluster.api.is_used_up)
    assert cluster.operator.process.poll() is None
    assert "Traceback" not in cluster.operator.text()


@pytest.mark.parametrize("is_event", [False, True], ids=["answer", "event"])
def test_410_for_every_watch(cluster: Cluster, is_event: bool) -> None:
    cluster.api.arm(Fault("GET", "watch=1", 8, 410, "Expired", is_event=is_event))
    cluster.api.cut_watches()
    _enrol(cluster, f"gone-{int(is_event)}")
    wait_for("every fault happened", lambda: cluster.api.is_used_up)
    assert cluster.operator.process.poll() is None


def test_a_token_that_ends_is_followed_by_the_files_next(
    kube_programs: Programs, tmp_path: Path
) -> None:
    """A token whose Pod is gone is refused just as one whose time is over."""
    with ApiServer.start(tmp_path / "kube", kube_programs) as server:
        make_namespace(server)
        install(server, kube_programs.helm)
        admin = open_client(server.kubeconfig())
        switch_on(admin)
        token = tmp_path / "token"
        token.write_text(_pod_token(server, "first"))
        text = operator_kubeconfig(server).read_text()
        document = json.loads(text)
        document["users"][0]["user"] = {"tokenFile": str(token)}
        config = tmp_path / "kubeconfig"
        config.write_text(json.dumps(document))
        with replica(server, tmp_path, "a", config=config) as operator:
            FakeAgent(server, "before", "c-before").enrol()
            words = ("delete", "pod", "first", "-n", NAMESPACE, "--force", "--grace-period=0")
            assert server.kubectl(*words).returncode == 0
            wait_for("it is refused", lambda: operator.said("401 Unauthorized"))
            token.write_text(_pod_token(server, "second"))
            FakeAgent(server, "after", "c-after").enrol()
            assert operator.process.poll() is None
            assert "Traceback" not in operator.text()
        _check_nothing_twice(admin)


def _pod_token(server: ApiServer, name: str) -> str:
    made = server.kubectl_json("create", "-f", "-", stdin=pod(name, NAMESPACE, OPERATOR, "n"))
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{OPERATOR}/token"
    return str(server.post(path, token_request(made, 600))["status"]["token"])


def test_the_api_server_is_away_in_the_middle_of_a_burst(
    kube_programs: Programs, tmp_path: Path
) -> None:
    nodes = 100
    with ApiServer.start(tmp_path / "kube", kube_programs) as server:
        make_namespace(server)
        install(server, kube_programs.helm)
        admin = open_client(server.kubeconfig())
        switch_on(admin)
        with replica(server, tmp_path, "a") as operator:
            wait_for("it leads", lambda: operator.said('event="trust-published"'))
            with Crowd(make_members(server, nodes)) as crowd:
                crowd.begin()
                wait_for("some are issued", lambda: operator.text().count('what="issued"') > 10)
                server.kill_api_server()
                wait_for("it notices", lambda: operator.said("failed"))
                server.start_all()
                crowd.enrol(4 * WAIT_SECONDS)
            assert operator.process.poll() is None
            assert "Traceback" not in operator.text()
        ledgers = _check_nothing_twice(admin)
        given = {member.chassis: [member.serial] for member in crowd.members}
        assert ledgers == given
        server.kill_api_server()  # it would wait for the watches
