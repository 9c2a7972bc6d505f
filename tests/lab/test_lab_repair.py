"""What is emptied behind charon's back comes back by itself, and no other pair notices."""

import asyncio
import json
import re
from collections.abc import Iterator

import pytest

from lab.bringup import Running, await_secured
from lab.daemons import daemon_words, end_for_good, renew_agent, signal_agent
from lab.deadline import wait_until
from lab.stage import Stage
from tests.lab.conftest import OpenLab
from tests.lab.witness import GENEVE, Tally, ping, settle

pytestmark = [pytest.mark.lab, pytest.mark.traffic]

OVSDB = "/run/openvswitch/ovsdb-server.pid"
INTERVAL_SECONDS = 0.1
BACK_SECONDS = 15.0
"""Two turns to be sure, one handshake; a pair that waited for its rekeying would be away for an
hour."""


@pytest.fixture(scope="module")
def cluster(open_lab: OpenLab) -> Iterator[Running]:
    with open_lab("t-repair", nodes=3, ipsec=True) as running:
        yield running


@pytest.mark.parametrize("what", ["policy", "state"])
@pytest.mark.parametrize("node", ["node1", "node2"])
def test_a_flushed_kernel_is_repaired(
    cluster: Running, runner: asyncio.Runner, node: str, what: str
) -> None:
    nodes = {one.name: one for one in cluster.layout.topology.nodes}
    peer = "node2" if node == "node1" else "node1"
    there = nodes[peer].pods[0].address.ip
    between = pair_spis(runner, cluster, "node3", str(nodes[peer].underlay.ip))
    clear = Tally(cluster, GENEVE)
    # The flush is in the middle of the pings, so that some must be lost and some must come back.
    report = runner.run(
        cluster.remote(node).check(
            f"(sleep 1; ip xfrm {what} flush) & ip netns exec {nodes[node].pods[0].namespace} "
            f"ping -n -c 150 -i {INTERVAL_SECONDS} -W 1 {there}; wait; true"
        )
    )
    seen = {int(number) for number in re.findall(r"icmp_seq=(\d+)", report)}
    lost = set(range(1, 151)) - seen
    assert lost, "the flush did nothing"
    print(f"{len(lost) * INTERVAL_SECONDS:.1f} s lost")

    async def carries() -> bool:
        return await ping(cluster, node, str(there))

    runner.run(wait_until(carries, "the pair to carry again", BACK_SECONDS))
    runner.run(settle())
    assert clear.new() == 0
    runner.run(await_secured(cluster, nodes[node]))
    # The pair of the two others was not touched.
    assert pair_spis(runner, cluster, "node3", str(nodes[peer].underlay.ip)) == between


def test_a_revoked_peer_is_closed_by_an_agent_that_knows_no_tunnels(
    cluster: Running, runner: asyncio.Runner
) -> None:
    """The last one: node3 leaves. node1's agent starts while Open vSwitch's database is away."""

    async def run() -> None:
        stage = Stage(cluster)
        node1 = cluster.remote("node1")
        addresses = [str(one.underlay.ip) for one in cluster.layout.topology.nodes[1:]]

        async def held() -> list[str]:
            text = await node1.check("ip xfrm state")
            return [address for address in addresses if f"dst {address}" in text]

        words = await daemon_words(stage, "node1", OVSDB)
        await end_for_good(stage, "node1", OVSDB)
        try:
            await signal_agent(stage, "node1", "KILL")
            await renew_agent(stage, "node1")
            assert await held() == addresses
            await stage.control_plane.shut_out("node3")

            async def closed() -> bool:
                return await held() == addresses[:1]

            await wait_until(closed, "node1 to hold no SA with node3", BACK_SECONDS)
        finally:
            await node1.check(words)
        assert await ping(
            cluster, "node1", str(cluster.layout.topology.nodes[1].pods[0].address.ip)
        )

    runner.run(run())


def pair_spis(runner: asyncio.Runner, cluster: Running, node: str, address: str) -> list[int]:
    text = runner.run(cluster.remote(node).check("geneveil status -o json"))
    (peer,) = [peer for peer in json.loads(text)["peers"] if peer["remoteIp"] == address]
    assert peer["state"] == "up"
    return [peer["spiOut"], peer["spiIn"]]
