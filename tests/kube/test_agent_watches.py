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
from tests.kube.operator_bench import (
    NAMESPACE,
    WAIT_SECONDS,
    install,
    replica,
    switch_on,
    wait_for,
)

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
        with Crowd(make_members(server, 2)) as crowd:
            crowd.enrol(4 * WAIT_SECONDS)
            # before and after its certificate, and to follow from there
            wanted = 3 * len(crowd.members)
            wait_for("all was read", lambda: asked(server)["get", "configmaps"] >= wanted)
            before = asked(server)
            time.sleep(HELD_SECONDS)  # nothing is to happen, for so long
            after = asked(server)
            assert after["get", "configmaps"] == before["get", "configmaps"]
            # an API server that has just begun turns some away, who then read once more
            assert after["get", "configmaps"] <= wanted + sum(
                one.turned_away for one in crowd.members
            )
            assert after["watch", "configmaps"] == 0  # none has ended
            assert after["get", "certificatesigningrequests"] == 0


def asked(server: ApiServer) -> Counter[tuple[str, str]]:
    """What agents asked for and got so far, by verb and resource."""
    found: Counter[tuple[str, str]] = Counter()
    for event in server.requests():
        if event["user"]["username"] == AGENT and event["stage"] == "ResponseComplete":
            found[event["verb"], event["objectRef"]["resource"]] += 1
    return found
