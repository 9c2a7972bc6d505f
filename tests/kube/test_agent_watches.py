"""A node that holds its watch asks for nothing more, however much else changes in the cluster."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.kube_crowd import Crowd, make_members
from geneveil.kube.io import open_client
from geneveil.kube.kinds import CONFIG_MAPS
from lab.kube.arguments import Programs
from lab.kube.cluster import make_namespace
from lab.kube.server import ApiServer
from tests.kube.operator_bench import NAMESPACE, install, replica, switch_on, wait_for

HELD_SECONDS = 3.0
AGENT = f"system:serviceaccount:{NAMESPACE}:geneveil-agent"


@pytest.fixture
def server(kube_programs: Programs, tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer.start(tmp_path / "kube", kube_programs) as started:
        make_namespace(started)
        install(started, kube_programs.helm)
        switch_on(open_client(started.kubeconfig()))
        yield started
        started.kill_api_server()  # it would wait for the watches


@pytest.mark.timeout(180)
def test_the_trust_is_followed_though_its_version_is_long_forgotten(
    server: ApiServer, tmp_path: Path
) -> None:
    admin = open_client(server.kubeconfig())
    with replica(server, tmp_path, "a") as operator:
        wait_for("it leads", lambda: operator.said('event="trust-published"'))
        # an API server that was started since remembers no change from before
        admin.create(CONFIG_MAPS, {"metadata": {"name": "other", "namespace": NAMESPACE}})
        server.kill_api_server()
        server.start_all()
        crowd = Crowd(make_members(server, 2))
        crowd.enrol(60)
        time.sleep(HELD_SECONDS)  # nothing is to happen, for so long
        asked: Counter[tuple[str, str]] = Counter()
        for event in server.requests():
            if event["user"]["username"] == AGENT and event["stage"] == "ResponseComplete":
                asked[event["verb"], event["objectRef"]["resource"]] += 1
        # before and after its certificate, and to follow from there
        assert asked["get", "configmaps"] == 3 * len(crowd.members)
        assert asked["watch", "configmaps"] == 0  # none has ended
        assert asked["get", "certificatesigningrequests"] == 0
