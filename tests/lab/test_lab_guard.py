"""Ways around the guard that were found on a real cluster: each is tried, and each is shut.

Every test has its control: without the part of the guard that it is about, the same packets are
seen by the same witness.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from lab.bringup import Running, await_secured
from lab.deadline import wait_until
from lab.health import LINGERING
from tests.lab.conftest import OpenLab
from tests.lab.opening import opened
from tests.lab.witness import GENEVE, Tally, await_seen, settle

pytestmark = pytest.mark.lab

VXLAN = "udp port 4789"
FOREIGN_PORT = 6082
OTHER_ADDRESS = "192.0.2.51"
PAYLOAD_BYTES = 333
OWN_DOING = LINGERING | {"cleartext-on-wire"}
"""Controls take the guard away, and the sentinel sees what then leaves: it says so for a while."""

SEND = (
    "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    "[s.sendto(bytes({length}), ('{address}', {port})) for _ in range(4)]"
)
MOVE_SOURCE = (
    "ip addr add {address}/24 dev eth0; nft -f - <<'END'\n"
    "table ip moved {{ chain p {{ type nat hook postrouting priority srcnat; "
    'oifname "eth0" udp dport 6081 snat to {address}; }}; }}\nEND\n'
)


@pytest.fixture(scope="module")
def cluster(open_lab: OpenLab) -> Iterator[Running]:
    with open_lab("t-guard", nodes=2, ipsec=True) as running:
        yield running


ICMP_ABOUT_GENEVE = "icmp[17] = 17 and icmp[30:2] = 6081"
FLUSH_OUTPUT = "nft flush chain inet geneveil output; nft flush chain inet geneveil_bolt output"
FLUSH_POSTROUTING = (
    "nft flush chain inet geneveil postrouting; nft flush chain inet geneveil_bolt postrouting"
)


@asynccontextmanager
async def stopped_agent(running: Running, node: str) -> AsyncIterator[None]:
    """Keep the agent from repairing what a test does."""
    remote = running.remote(node)
    await remote.check("kill -STOP $(cat /run/geneveil/agent.lock)")
    try:
        yield
    finally:
        await remote.check("kill -CONT $(cat /run/geneveil/agent.lock)")


async def shown(running: Running, node: str) -> dict[str, object]:
    text = (await running.remote(node).run("geneveil guard show -o json")).stdout
    return dict(json.loads(text))


async def dropped(running: Running, node: str, counter: str) -> int:
    text = (await running.remote(node).run("geneveil guard show -o json")).stdout
    return int(json.loads(text)["counters"][counter]["packets"])


async def await_guard(running: Running, node: str, ports: list[int]) -> None:
    async def stands() -> bool:
        guard = await shown(running, node)
        return guard["state"] == "in place" and guard["ports"] == ports

    await wait_until(stands, f"{node}'s guard to cover {ports}", 15)


async def await_codes(running: Running, node: str, codes: set[str]) -> None:
    """Wait until status names exactly these errors, beside what this test did to the guard; it must
    not count as well meanwhile.
    """

    async def named() -> bool:
        done = await running.remote(node).run("geneveil status -o json")
        health = json.loads(done.stdout)["health"]
        found = {value["code"] for value in health if value["severity"] == "error"}
        assert done.status != 0 or not found & codes
        return found - OWN_DOING == codes

    await wait_until(named, f"{node}'s status to name {sorted(codes)}", 15)


async def ping_between(running: Running, pod: int) -> bool:
    """From node1's pod to node2's of the same number: each number is a flow of its own."""
    source, target = (running.layout.topology.node(name).pods[pod] for name in ("node1", "node2"))
    command = f"ip netns exec {source.namespace} ping -n -c 4 -i 0.1 -W 1 {target.address.ip}"
    done = await running.remote("node1").run(command)
    await settle()
    return done.status == 0


async def await_reach(running: Running) -> None:
    async def reaches() -> bool:
        return await ping_between(running, 0)

    await wait_until(reaches, "node1's pod to reach node2's", 15)


def test_a_pod_that_sends_to_a_nodes_geneve_port_is_stopped(
    cluster: Running, runner: asyncio.Runner
) -> None:
    async def run() -> None:
        target = str(cluster.layout.topology.node("node2").underlay.ip)
        pod = cluster.layout.topology.node("node1").pods[0].namespace
        length = PAYLOAD_BYTES + 8
        # Before the guard's own chain: what the other node's kernel has once ESP is taken off.
        await cluster.remote("node2").check(
            "nft -f - <<'END'\ntable inet seen { counter to_overlay { }; counter to_other { };"
            " chain c { type filter hook input priority -10;"
            f" udp dport 6081 udp length {length} counter name to_overlay;"
            f" udp dport {FOREIGN_PORT} udp length {length} counter name to_other; }}; }}\nEND\n"
        )
        before = await dropped(cluster, "node1", "forwarded")
        geneve = Tally(cluster, GENEVE)
        foreign = Tally(cluster, f"udp port {FOREIGN_PORT}")
        for port in (6081, FOREIGN_PORT):
            send = SEND.format(length=PAYLOAD_BYTES, address=target, port=port)
            await cluster.remote("node1").check(f'ip netns exec {pod} python3 -c "{send}"')
        arrived: dict[str, int] = {}

        async def the_others_arrived() -> bool:
            counted = json.loads(
                await cluster.remote("node2").check("nft -j list counters table inet seen")
            )
            arrived.update(
                (item["counter"]["name"], item["counter"]["packets"])
                for item in counted["nftables"]
                if "counter" in item
            )
            return arrived["to_other"] == 4

        await wait_until(the_others_arrived, "the control to arrive", 15, poll_seconds=0.2)
        assert await await_seen(foreign, 4) == 4
        await cluster.remote("node2").check("nft delete table inet seen")
        assert await dropped(cluster, "node1", "forwarded") == before + 4
        assert arrived == {"to_overlay": 0, "to_other": 4}
        await settle()
        assert geneve.new() == 0

    runner.run(run())


BROKEN = {
    "mistyped": "sed 's/^mode:/mod:/' /etc/geneveil/agent.yaml > /tmp/broken.yaml",
    "missing": "rm -f /tmp/broken.yaml",
}


@pytest.mark.parametrize(
    ("command", "status"), [("geneveil guard apply", 78), ("geneveil agent", 2)]
)
@pytest.mark.parametrize("breaking", BROKEN.values(), ids=BROKEN.keys())
def test_a_sealed_node_gets_its_guard_in_spite_of_a_broken_configuration(
    cluster: Running, runner: asyncio.Runner, command: str, status: int, breaking: str
) -> None:
    remote = cluster.remote("node2")
    start = f"{breaking}; nft delete table inet geneveil; {command} --config /tmp/broken.yaml"

    async def run() -> None:
        async with stopped_agent(cluster, "node2"):
            done = await remote.run(start)
            assert done.status == status
            assert "broken.yaml" in done.stderr
            assert "the guard now stands for UDP port 6081" in done.stderr
            guard = await shown(cluster, "node2")
            assert (guard["state"], guard["ports"]) == ("in place", [6081])
            # Never sealed: without a file it may be one with IPsec off; a broken one shuts it.
            await remote.check("mv /var/lib/geneveil/sealed /tmp/sealed")
            try:
                assert (await remote.run(start)).status == status
                state = "absent" if breaking == BROKEN["missing"] else "in place"
                assert (await shown(cluster, "node2"))["state"] == state
            finally:
                await remote.check("mv /tmp/sealed /var/lib/geneveil/sealed")
        await await_guard(cluster, "node2", [6081])

    runner.run(run())


def test_a_datapath_outside_the_kernel_is_an_error(
    cluster: Running, runner: asyncio.Runner
) -> None:
    async def run() -> None:
        remote = cluster.remote("node1")
        await await_codes(cluster, "node1", set())
        await remote.check(
            "ovs-vsctl --no-wait add-br aside -- set Bridge aside datapath_type=netdev"
            " -- set Open_vSwitch . other_config:hw-offload=true"
        )
        await await_codes(cluster, "node1", {"datapath-outside-kernel", "hardware-offload"})
        await remote.check(
            "ovs-vsctl --no-wait del-br aside -- remove Open_vSwitch . other_config hw-offload"
        )
        await await_codes(cluster, "node1", set())

    runner.run(run())


def test_source_nat_after_the_guard_lets_nothing_out(
    cluster: Running, runner: asyncio.Runner
) -> None:
    async def run() -> None:
        remote = cluster.remote("node1")
        await remote.check(MOVE_SOURCE.format(address=OTHER_ADDRESS))
        try:
            clear = Tally(cluster, GENEVE)
            before = await dropped(cluster, "node1", "cleartext_out")
            assert not await ping_between(cluster, 1)  # a flow that no NAT has seen before
            assert clear.new() == 0
            assert await dropped(cluster, "node1", "cleartext_out") >= before + 4
            async with opened(cluster, "node1", FLUSH_POSTROUTING):
                assert not await ping_between(cluster, 1)
                await await_seen(clear, 4)  # the control: this is the way out
        finally:
            await remote.check(
                f"nft delete table ip moved; ip addr del {OTHER_ADDRESS}/24 dev eth0"
            )
        await await_guard(cluster, "node1", [6081])
        await await_reach(cluster)

    runner.run(run())


def test_vxlan_instead_of_geneve_is_dropped_and_named(
    cluster: Running, runner: asyncio.Runner
) -> None:
    """The last but one test of this lab: it ends its tunnels."""

    async def run() -> None:
        clear = Tally(cluster, VXLAN)
        nodes = ("node1", "node2")
        switch = "ovs-vsctl set Open_vSwitch . external_ids:ovn-encap-type=vxlan"
        await asyncio.gather(*(cluster.remote(node).check(switch) for node in nodes))
        for node in nodes:
            await await_codes(cluster, node, {"tunnel-of-other-type", "encap-type-not-geneve"})
            await await_guard(cluster, node, [4789, 6081])
        assert not await ping_between(cluster, 0)
        assert clear.new() == 0
        assert await dropped(cluster, "node1", "cleartext_out") >= 4
        # An agent that starts anew does not know the tunnels yet, and the guard stays as it is.
        await cluster.remote("node1").check("geneveil guard apply")
        assert (await shown(cluster, "node1"))["ports"] == [4789, 6081]
        async with opened(cluster, "node1"):
            await ping_between(cluster, 0)
            await await_seen(clear, 4)  # the control: it was there to be seen

    runner.run(run())


def test_with_geneve_again_all_is_well_and_the_guard_is_as_before(
    cluster: Running, runner: asyncio.Runner
) -> None:
    async def run() -> None:
        switch = "ovs-vsctl set Open_vSwitch . external_ids:ovn-encap-type=geneve"
        for node in cluster.layout.topology.nodes:
            await cluster.remote(node.name).check(switch)
        for node in cluster.layout.topology.nodes:
            await await_secured(cluster, node, apart_from=OWN_DOING)
            await await_guard(cluster, node.name, [6081])
        await await_reach(cluster)

    runner.run(run())


def test_what_nobody_takes_is_not_sent_back_in_an_icmp_error(
    cluster: Running, runner: asyncio.Runner
) -> None:
    """node2 decrypts what node1's pod said, and has nobody who takes Geneve: its device is down, as
    while Open vSwitch is not there."""

    async def run() -> None:
        node2 = cluster.remote("node2")
        told = Tally(cluster, ICMP_ABOUT_GENEVE)
        before = await dropped(cluster, "node2", "quoted")
        await node2.check("ip link set genev_sys_6081 down")
        try:
            assert not await ping_between(cluster, 0)
            await settle()
            assert told.new() == 0
            assert await dropped(cluster, "node2", "quoted") > before
            async with opened(cluster, "node2", FLUSH_OUTPUT):  # the control
                assert not await ping_between(cluster, 0)
                await await_seen(told, 1)
        finally:
            await node2.check("ip link set genev_sys_6081 up")

        async def carries() -> bool:
            return await ping_between(cluster, 0)

        await wait_until(carries, "node2 to take Geneve again", 30)

    runner.run(run())
