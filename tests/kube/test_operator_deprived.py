"""An operator whose CRDs are taken away, and whose log or ledger another writes: it says so."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from geneveil.kube.io import KubeClient, open_client
from geneveil.kube.kinds import CLUSTER_IPSECS, CONFIG_MAPS, EVENTS, NODE_IPSECS
from geneveil.kube.port import Kind, Selection
from geneveil.model.errors import GeneveilError
from geneveil.operator.kubernetes.ledger import ledger_name
from lab.kube.arguments import Programs
from lab.kube.cluster import make_namespace
from lab.kube.server import ApiServer
from tests.kube.operator_bench import (
    NAMESPACE,
    FakeAgent,
    condition,
    install,
    make_csr,
    operator_kubeconfig,
    replica,
    switch_on,
    wait_for,
)

LOG = "geneveil-ledger-operator"
CRDS = ("clusteripsecs.geneveil.io", "nodeipsecs.geneveil.io")


@pytest.fixture
def server(kube_programs: Programs, tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer.start(tmp_path / "kube", kube_programs) as started:
        make_namespace(started)
        install(started, kube_programs.helm)
        switch_on(open_client(started.kubeconfig()))
        yield started


def _status(server: ApiServer) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "geneveil", "status", "--cluster"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KUBECONFIG": str(server.kubeconfig())},
    )


def _take_crds_away(server: ApiServer) -> None:
    """As only somebody can who takes the policies' bindings away first."""
    binding = ("delete", "validatingadmissionpolicybinding", "geneveil-keep-crds")
    assert server.kubectl(*binding).returncode == 0
    wait_for(
        "the CRDs go",
        lambda: not server.kubectl("delete", "--ignore-not-found", "crd", *CRDS).returncode,
    )


def _count(admin: KubeClient, kind: Kind) -> int:
    try:
        return len(admin.list_all(Selection(kind)).items)
    except GeneveilError:
        return 0


def _events(admin: KubeClient) -> list[str]:
    events = admin.list_all(Selection(EVENTS, "default")).items
    return [one["message"] for one in events if one["reason"] == "DefinitionsMissing"]


@pytest.mark.timeout(300)
def test_without_its_crds_the_cluster_goes_on_and_is_told_so(
    server: ApiServer, kube_programs: Programs, tmp_path: Path
) -> None:
    admin = open_client(server.kubeconfig())
    agent = FakeAgent(server, "deprived", "chassis-deprived")
    with replica(server, tmp_path, "before") as operator:
        agent.enrol()
        _take_crds_away(server)
        wait_for("it notices", lambda: operator.said('event="kind-missing"'))
        agent.enrol()
        assert operator.stop() == 0
        assert "Traceback" not in operator.text()
    with replica(server, tmp_path, "after") as operator:
        agent.enrol()
        (told,) = wait_for("the Event", lambda: _events(admin))
        assert f"CustomResourceDefinition gone: {', '.join(CRDS)}" in told
        assert "encryption goes on" in told
        assert "geneveil install" in told  # the remedy
        assert operator.said('event="protection-not-whole" message="CustomResourceDefinition')
        done = _status(server)
        assert done.returncode == 1
        assert "CustomResourceDefinitions are gone from this cluster" in done.stderr
        assert "Nodes go on" in done.stderr
        install(server, kube_programs.helm)
        wait_for("the switch is made again", lambda: _count(admin, CLUSTER_IPSECS), 90)
        wait_for("the NodeIPsecs are", lambda: _count(admin, NODE_IPSECS), 90)
        wait_for("it is told", lambda: condition(admin, "Degraded")[1] == "SwitchWasDeleted", 90)
        assert "Traceback" not in operator.text()


@pytest.mark.timeout(300)
def test_a_log_that_another_wrote_is_read_anew_and_written_again(
    server: ApiServer, tmp_path: Path
) -> None:
    admin = open_client(server.kubeconfig())
    agent = FakeAgent(server, "logged", "chassis-logged")
    config = operator_kubeconfig(server)
    with replica(server, tmp_path, "one") as operator:
        agent.enrol()
        there = wait_for("the log", lambda: admin.find(CONFIG_MAPS, LOG, NAMESPACE), 90)
        assert there is not None
        there["metadata"]["labels"]["by"] = "another"
        done = server.kubectl("replace", "-f", "-", stdin=json.dumps(there), config=config)
        assert done.returncode == 0, done.stderr
        agent.enrol()
        wait_for("it reads anew", lambda: operator.said('event="reads-anew"'), 90)
        agent.enrol()

        def is_written() -> bool:
            log = admin.read(CONFIG_MAPS, LOG, NAMESPACE)
            return "by" not in log["metadata"]["labels"]

        wait_for("it is written", is_written, 90)
        assert operator.text().count('event="reads-anew"') == 1
        assert "Traceback" not in operator.text()


@pytest.mark.timeout(300)
def test_a_ledger_that_is_damaged_is_told_and_made_good(server: ApiServer, tmp_path: Path) -> None:
    admin = open_client(server.kubeconfig())
    agent = FakeAgent(server, "damaged", "chassis-damaged")
    config = operator_kubeconfig(server)

    def write(text: str) -> None:
        ledger = admin.read(CONFIG_MAPS, ledger_name("chassis-damaged"), NAMESPACE)
        ledger["data"]["ledger.json"] = text
        done = server.kubectl("replace", "-f", "-", stdin=json.dumps(ledger), config=config)
        assert done.returncode == 0, done.stderr

    with replica(server, tmp_path, "one") as operator:
        agent.enrol()
        wait_for("all is well", lambda: condition(admin, "Degraded")[1] == "AsExpected")
        ledger = admin.read(CONFIG_MAPS, ledger_name("chassis-damaged"), NAMESPACE)
        whole = ledger["data"]["ledger.json"]
        write('{"chassis": "chassis-damaged", "certificates": 3, "standing": null}')
        name = agent.ask(make_csr("chassis-damaged"))
        wait_for("it is told", lambda: condition(admin, "Degraded")[1] == "StateNotUsable")
        assert ledger_name("chassis-damaged") in condition(admin, "Degraded")[2]
        assert condition(admin, "Available")[0] == "False"
        assert admin.read(CLUSTER_IPSECS, "cluster")["status"]["sealedSHA256"]
        write(whole)
        wait_for("it goes on", lambda: agent.certificate(name))
        wait_for("all is well again", lambda: condition(admin, "Degraded")[1] == "AsExpected")
        assert condition(admin, "Available")[0] == "True"
        assert "Traceback" not in operator.text()
