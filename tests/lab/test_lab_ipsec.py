"""An encrypted cluster: what its nodes say, what its wire shows, and that it fails closed."""

import asyncio
import json
import re
from collections.abc import Iterator

import pytest

from lab.bringup import Running, await_secured
from lab.deadline import wait_until
from tests.lab.conftest import OpenLab
from tests.lab.opening import REMOVE_GUARDS
from tests.lab.witness import ESP, FRAGMENT, GENEVE, Tally, await_seen, count_frames, ping, settle

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def cluster(open_lab: OpenLab) -> Iterator[Running]:
    with open_lab("t-ipsec", nodes=3, ipsec=True) as running:
        yield running


@pytest.fixture(scope="module")
def forced(open_lab: OpenLab) -> Iterator[Running]:
    with open_lab("t-always", nodes=2, ipsec=True, encapsulation="Always") as running:
        yield running


def pod_address(running: Running, node: str) -> str:
    return str(running.layout.topology.node(node).pods[0].address.ip)


def test_status_tells_a_person_and_a_machine(cluster: Running, runner: asyncio.Runner) -> None:
    node = cluster.remote("node1")
    table = runner.run(node.run("geneveil status"))
    assert table.status == 0, table.stdout + table.stderr
    assert "all is well: 2 of 2 peers encrypted" in table.stdout
    status = json.loads(runner.run(node.check("geneveil status -o json")))
    assert [peer["chassis"] for peer in status["peers"]] == ["node2", "node3"]
    for peer in status["peers"]:
        assert peer["cipher"] == "AES-GCM-16-256/ESN"
        assert peer["mode"] == "transport"
    assert status["guard"]["inPlace"]
    assert status["certificate"]["chassis"] == "node1"


def test_one_initiator_a_pair(cluster: Running, runner: asyncio.Runner) -> None:
    async def has_one() -> bool:
        roles: dict[frozenset[str], list[bool]] = {}
        for node in cluster.layout.topology.nodes:
            text = await cluster.remote(node.name).check("geneveil status -o json")
            for peer in json.loads(text)["peers"]:
                pair = frozenset((node.name, peer["chassis"]))
                roles.setdefault(pair, []).append(peer["initiator"])
            sas = await cluster.remote(node.name).check("swanctl --list-sas --raw")
            if len(re.findall(r"state=ESTABLISHED", sas)) != 2:
                return False
        return len(roles) == 3 and all(sorted(both) == [False, True] for both in roles.values())

    # Doubles that came of nodes that began at the same moment are closed.
    runner.run(wait_until(has_one, "one IKE_SA and one initiator a pair", 30, poll_seconds=1))


def test_the_private_key_stays_private(cluster: Running, runner: asyncio.Runner) -> None:
    for node in cluster.layout.topology.nodes:
        remote = cluster.remote(node.name)
        mode = runner.run(remote.check("stat -c %a%u /var/lib/geneveil/node.key")).strip()
        assert mode == "6000"
        assert runner.run(
            remote.run("ls /etc/swanctl/private /etc/swanctl/x509")
        ).stdout.split() == [
            "/etc/swanctl/private:",
            "/etc/swanctl/x509:",
        ]
    logs = [path for node in cluster.layout.topology.nodes
            for path in (cluster.layout.disk(node.name) / "log").glob("*.log")]  # fmt: skip
    assert logs
    for path in logs:
        assert "PRIVATE KEY" not in path.read_text(errors="replace"), path


def test_a_full_packet_crosses_whole_and_one_byte_more_is_told(
    cluster: Running, runner: asyncio.Runner
) -> None:
    mtu = cluster.layout.cluster.pod_mtu_bytes
    there = pod_address(cluster, "node2")
    fragments = Tally(cluster, FRAGMENT)
    assert runner.run(ping(cluster, "node1", there, "-M", "do", "-c", "2", "-s", str(mtu - 28)))
    pod = cluster.layout.topology.node("node1").pods[1]
    widen = (
        f"ip -n {pod.namespace} link set eth0 mtu 1500; ip link set {pod.host_interface} mtu 1500; "
        f"ip netns exec {pod.namespace} ping -n -M do -c 1 -W 10 -s {{}} {there}"
    )
    assert runner.run(cluster.remote("node1").run(widen.format(mtu - 28))).status == 0
    refused = runner.run(cluster.remote("node1").run(widen.format(mtu - 27)))
    narrow = (
        f"ip -n {pod.namespace} link set eth0 mtu {mtu}; ip link set {pod.host_interface} mtu {mtu}"
    )
    runner.run(cluster.remote("node1").check(narrow))
    assert refused.status != 0
    assert f"Frag needed and DF set (mtu = {mtu})" in refused.stdout
    runner.run(settle())
    assert fragments.new() == 0


def test_forced_encapsulation_rides_udp_and_a_full_packet_still_fits(
    forced: Running, runner: asyncio.Runner
) -> None:
    mtu = forced.layout.cluster.pod_mtu_bytes
    there = pod_address(forced, "node2")
    in_udp, plain = Tally(forced, "udp port 4500"), Tally(forced, "esp")
    assert runner.run(ping(forced, "node1", there, "-M", "do", "-c", "3", "-s", str(mtu - 28)))
    runner.run(await_seen(in_udp, 2))  # a question and an answer
    runner.run(settle())
    assert plain.new() == 0
    assert count_frames(forced.layout.capture, FRAGMENT) == 0
    assert count_frames(forced.layout.capture, GENEVE) == 0
    status = json.loads(runner.run(forced.remote("node1").check("geneveil status -o json")))
    assert all(peer["encapsulated"] for peer in status["peers"])


def test_restarting_the_agent_changes_nothing(cluster: Running, runner: asyncio.Runner) -> None:
    node = cluster.remote("node1")
    spis = "ip xfrm state | grep -o 'spi 0x[0-9a-f]*' | sort"
    before = runner.run(node.check(spis))
    there = pod_address(cluster, "node2")
    flood = f"ip netns exec node1-pod1 ping -n -q -c 200 -i 0.02 {there}"
    restart = (
        "kill -9 $(cat /run/geneveil/agent.pid 2>/dev/null || pgrep -f geneveil.agent); "
        "sleep 0.5; setsid geneveil agent --config /etc/geneveil/agent.yaml "
        "< /dev/null >> /disk/log/agent.log 2>&1 &"
    )

    async def both() -> str:
        pinging = asyncio.create_task(node.check(flood))
        await node.run(restart)
        return await pinging

    report = runner.run(both())
    assert " 0% packet loss" in report
    runner.run(await_secured(cluster, cluster.layout.topology.node("node1")))
    assert runner.run(node.check(spis)) == before


def test_with_every_daemon_dead_and_the_kernel_flushed_nothing_leaves(
    cluster: Running, runner: asyncio.Runner
) -> None:
    """The last test of this lab: it ends node3's agent and charon for good."""
    victim = cluster.remote("node3")
    runner.run(victim.run("pkill -9 -f '[g]eneveil.agent'; pkill -9 charon; sleep 0.2"))
    runner.run(victim.check("ip xfrm state flush; ip xfrm policy flush"))
    clear = Tally(cluster, GENEVE)
    assert not runner.run(ping(cluster, "node3", pod_address(cluster, "node1"), "-c", "4"))
    runner.run(settle())
    assert clear.new() == 0
    shown = json.loads(runner.run(victim.check("geneveil guard show -o json")))
    assert shown["counters"]["cleartext_out"]["packets"] >= 4
    dead = runner.run(victim.run("geneveil status"))
    assert dead.status != 0
    assert "not running" in dead.stdout + dead.stderr
    # The untouched pair goes on.
    assert runner.run(ping(cluster, "node1", pod_address(cluster, "node2")))
    # Positive control, by the same witness: without the guard the same packets are in clear ...
    runner.run(victim.check(REMOVE_GUARDS))
    runner.run(ping(cluster, "node3", pod_address(cluster, "node1"), "-c", "4"))
    runner.run(await_seen(clear, 4))
    # ... and the other side's guard takes none of them in.

    async def dropped() -> bool:
        shown = json.loads(await cluster.remote("node1").check("geneveil guard show -o json"))
        return bool(shown["counters"]["cleartext_in"]["packets"] >= 4)

    runner.run(wait_until(dropped, "node1's guard to have dropped them", 15))
    assert count_frames(cluster.layout.capture, ESP) > 0
