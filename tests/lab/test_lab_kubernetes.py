"""A cluster that enrols through a real API server: its objects, its wire, and its bad days.

One cluster for all; the tests follow one another, the last one deletes a Node.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from lab.control_plane import KUBERNETES
from lab.deadline import wait_until
from lab.fault import Fault
from lab.fault_play import FaultPlayer
from lab.scenario import load_scenario
from lab.stage import Stage
from lab.topology import CENTRAL
from tests.lab.conftest import OpenLab
from tests.lab.witness import Tally, await_seen, ping

pytestmark = [pytest.mark.lab, pytest.mark.traffic]

AGENT_MOST_KIB = 64 * 1024
SLACK = 4.0
SHORT = [fault for fault in load_scenario("api_server", KUBERNETES).faults if fault.is_short]


@pytest.fixture(scope="module")
def stage(open_kube_lab: OpenLab) -> Iterator[Stage]:
    with open_kube_lab("t-kube", nodes=3) as running:
        yield Stage(running)


def objects(stage: Stage, *words: str) -> Any:
    return stage.running.layout.kube.kubectl_json("get", *words)


def conditions(document: dict[str, Any]) -> dict[str, str]:
    """None of an object whose status was not written yet, or only by one of its writers."""
    found = document.get("status", {}).get("conditions", ())
    return {one["type"]: one["status"] for one in found}


def agent_memory_kib(stage: Stage, runner: asyncio.Runner, node: str) -> int:
    command = "grep VmRSS /proc/$(cat /run/geneveil/agent.lock)/status"
    return int(runner.run(stage.running.remote(node).check(command)).split()[1])


def check_wire(stage: Stage, runner: asyncio.Runner, *, touched: str = "") -> None:
    """No Geneve in clear so far, and no packet lost between nodes that nobody touched."""
    assert stage.traffic is not None
    losses = runner.run(stage.traffic.measure())
    whole = [loss for loss in losses if touched not in (loss.source, loss.destination)]
    assert whole
    assert not [str(loss) for loss in whole if not loss.is_whole]
    assert sum(loss.sent_packets for loss in whole) > 100
    assert runner.run(stage.clear_frames()) == 0


def test_the_cluster_comes_up_through_signing_requests(
    stage: Stage, runner: asyncio.Runner
) -> None:
    requests = objects(stage, "csr")["items"]
    assert len(requests) >= 3
    for request in requests:
        assert conditions(request)["Approved"] == "True"
        assert request["status"]["certificate"]
        assert request["spec"]["usages"] == ["ipsec tunnel"]
        node = request["spec"]["extra"]["authentication.kubernetes.io/node-name"]
        assert request["metadata"]["name"].startswith(f"geneveil-{node[0]}-")
    for node in stage.nodes:
        status = runner.run(stage.status(node.name))
        assert status["certificate"]["chassis"] == node.chassis
        assert {peer["state"] for peer in status["peers"]} == {"up"}
        assert agent_memory_kib(stage, runner, node.name) <= AGENT_MOST_KIB
    token = runner.run(stage.running.remote("node1").run("ls /etc/geneveil/token"))
    assert token.status != 0, "a join token, where none is needed"


def test_nodes_and_cluster_say_how_they_are(stage: Stage, runner: asyncio.Runner) -> None:
    async def told() -> bool:
        nodes = objects(stage, "nodeipsecs")["items"]
        return len(nodes) == 3 and all(
            conditions(node).get("Ready") == "True" and node["status"]["peersUp"] == 2
            for node in nodes
        )

    runner.run(wait_until(told, "every NodeIPsec to be Ready", 30, poll_seconds=1))
    for node in objects(stage, "nodeipsecs")["items"]:
        status = runner.run(stage.status(node["metadata"]["name"]))
        assert node["status"]["chassis"] == status["chassis"]
        assert node["status"]["guard"] == "InPlace"
        assert node["status"]["certificate"]["serial"] == status["certificate"]["serial"]

    async def confirmed() -> bool:
        nodes = objects(stage, "nodeipsecs")["items"]
        return all(
            node["status"].get("trust", {}).get("serial") == node["status"]["certificate"]["serial"]
            for node in nodes
        )

    runner.run(wait_until(confirmed, "every node to confirm its trust", 30, poll_seconds=1))

    async def available() -> bool:
        cluster = objects(stage, "clusteripsec", "cluster")
        return conditions(cluster).get("Available") == "True"

    runner.run(wait_until(available, "the cluster to be Available", 30, poll_seconds=1))


def test_the_wire_shows_esp_alone(stage: Stage, runner: asyncio.Runner) -> None:
    address = str(stage.nodes[1].pods[0].address.ip)
    esp = Tally(stage.running, "esp")
    assert runner.run(ping(stage.running, "node1", address))
    runner.run(await_seen(esp, 1))
    assert runner.run(stage.clear_frames()) == 0


def play(stage: Stage, runner: asyncio.Runner, name: str) -> None:
    """The scenario of lab/scenarios/, on the cluster that is there."""
    played = load_scenario(name, KUBERNETES).play
    assert played is not None

    async def whole() -> None:
        await played(stage)

    runner.run(whole())
    print(*stage.notes, sep="\n")


def test_the_authority_is_rolled_over_and_no_packet_is_lost(
    stage: Stage, runner: asyncio.Runner
) -> None:
    runner.run(stage.start_traffic())
    play(stage, runner, "ca_rolled_over")
    check_wire(stage, runner)


def test_certificates_are_renewed_whatever_the_api_servers_clock_says(
    stage: Stage, runner: asyncio.Runner
) -> None:
    """Years pass for the nodes and the operator; for the API server, seconds."""
    play(stage, runner, "node_certificates_renewed")
    check_wire(stage, runner)


@pytest.fixture(scope="module")
def player(stage: Stage) -> FaultPlayer:
    """Once traffic flows."""
    return FaultPlayer(stage, say=print, slack=SLACK)


@pytest.mark.parametrize("fault", SHORT, ids=lambda fault: fault.name)
def test_the_api_server_has_a_bad_day(
    fault: Fault, player: FaultPlayer, runner: asyncio.Runner
) -> None:
    """No packet is lost, no certificate is lost or issued twice, and all heal by themselves."""
    assert not runner.run(player.play(fault)).broken
    check_wire(player.stage, runner)


def test_a_deleted_node_is_shut_out_within_seconds(stage: Stage, runner: asyncio.Runner) -> None:
    play(stage, runner, "node_revoked")

    async def forgotten() -> bool:
        names = [item["metadata"]["name"] for item in objects(stage, "nodeipsecs")["items"]]
        return "node3" not in names

    runner.run(wait_until(forgotten, "its NodeIPsec to go", 15, poll_seconds=1))
    check_wire(stage, runner, touched="node3")
    runner.run(stage.control())
    assert CENTRAL in stage.running.remotes
