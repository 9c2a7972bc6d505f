"""The guard's lifetime on real nodes: it comes back, stands at every boot, goes only for good.

The leak sentinel counts what the witness on the wire counts: where there is something, and where
there is nothing.
"""

import asyncio
import json
from collections.abc import Iterator

import pytest

from lab.bringup import Running, await_secured
from lab.deadline import wait_until
from lab.stage import Stage
from tests.lab.conftest import OpenLab
from tests.lab.opening import REMOVE_GUARDS, opened
from tests.lab.witness import GENEVE, Tally, await_seen, ping, settle

pytestmark = pytest.mark.lab

MOST_MILLISECONDS = 30_000
"""Of a machine with much else to do; `make soak` judges how fast it is."""
THEIRS = (
    "nft add table inet theirs; ip xfrm policy add src 203.0.113.1 dst 203.0.113.2 dir out"
    " tmpl src 203.0.113.1 dst 203.0.113.2 proto esp reqid 77 mode transport"
)
VICI = 'PYTHONPATH=/opt/site python3 -c "import vici; s = vici.Session(); {}"'
LOAD = (
    "s.load_conn({'theirs': {'local_addrs': ['203.0.113.1'], 'remote_addrs': ['203.0.113.2'],"
    " 'local': {'auth': 'psk'}, 'remote': {'auth': 'psk'}, 'children': {'net': {}}}})"
)
SHOW = "print(sorted(n.decode() if isinstance(n, bytes) else n for c in s.list_conns() for n in c))"
REMOVE_AND_WAIT = (
    "t0=$(date +%s%N); nft delete table inet geneveil; "
    "until nft list table inet geneveil > /dev/null 2>&1; do sleep 0.02; done; "
    "echo $(( ($(date +%s%N) - t0) / 1000000 ))"
)


@pytest.fixture(scope="module")
def cluster(open_lab: OpenLab) -> Iterator[Running]:
    with open_lab("t-lifetime", nodes=2, ipsec=True) as running:
        yield running


async def read_status(running: Running, node: str) -> dict[str, object]:
    done = await running.remote(node).run("geneveil status -o json")
    return dict(json.loads(done.stdout)) if done.stdout.strip() else {}


async def codes(running: Running, node: str) -> set[str]:
    status = await read_status(running, node)
    return {value["code"] for value in status.get("health", ())}  # type: ignore[attr-defined]


async def sentinel(running: Running, node: str) -> tuple[int, int]:
    command = "nft -j list counters table netdev geneveil"
    listed = json.loads(await running.remote(node).check(command))["nftables"]
    found = {i["counter"]["name"]: i["counter"]["packets"] for i in listed if "counter" in i}
    return found["wire_out"], found["wire_in"]


def pod(running: Running, number: int) -> str:
    return str(running.layout.topology.nodes[number].pods[0].address.ip)


def test_a_removed_guard_is_back_and_nothing_got_out(
    cluster: Running, runner: asyncio.Runner
) -> None:
    async def run() -> None:
        clear = Tally(cluster, GENEVE)
        spent = [int(await cluster.remote("node1").check(REMOVE_AND_WAIT)) for _ in range(3)]
        print(f"guard back after {spent} ms")
        assert max(spent) < MOST_MILLISECONDS

        async def said() -> bool:
            return "guard-missing" in await codes(cluster, "node1")

        await wait_until(said, "node1 to say that its guard was gone", 15)
        assert await ping(cluster, "node1", pod(cluster, 1))
        await settle()
        assert clear.new() == 0

    runner.run(run())


def test_who_flushes_nftables_and_ipsec_at_once_opens_nothing(
    cluster: Running, runner: asyncio.Runner
) -> None:
    """With an agent that stands still, so that nothing is mended: the bolt alone is left."""

    async def run() -> None:
        clear = Tally(cluster, GENEVE)
        node1 = cluster.remote("node1")
        await node1.check("nft list table ip lab-egress > /tmp/egress.nft")
        await node1.check("kill -STOP $(cat /run/geneveil/agent.lock)")
        try:
            await node1.check("nft flush ruleset; ip xfrm policy flush; ip xfrm state flush")
            await node1.check("nft -f /tmp/egress.nft")
            assert (await node1.run("geneveil guard show")).status == 1  # the guard is gone
            assert not await ping(cluster, "node1", pod(cluster, 1))
            assert not await ping(cluster, "node2", pod(cluster, 0))
            await settle()
            assert clear.new() == 0
            for counter in ("cleartext_out", "cleartext_in"):
                listed = await node1.check(f"nft -j list counter inet geneveil_bolt {counter}")
                (found,) = [i["counter"] for i in json.loads(listed)["nftables"] if "counter" in i]
                assert (found["packets"] > 0) == (counter == "cleartext_out")
        finally:
            await node1.check("kill -CONT $(cat /run/geneveil/agent.lock)")

        async def carries() -> bool:
            return await ping(cluster, "node1", pod(cluster, 1))

        await wait_until(carries, "the pair to be repaired", 30)

    runner.run(run())


THEIR_SA = """\
xfrm state add {ends} proto esp spi 0x1001 reqid {reqid} mode transport replay-window 32 \
aead rfc4106(gcm(aes)) 0x{key} 128
xfrm policy add {ends} proto udp dport 6081 dir out \
tmpl {ends} proto esp reqid {reqid} mode transport
"""
AWAY = """\
xfrm policy delete {ends} proto udp dport 6081 dir out
xfrm state delete {ends} proto esp spi 0x1001
"""
OUR_REQID = (1 << 30) + 5


def test_an_sa_of_somebody_else_lets_no_geneve_out(
    cluster: Running, runner: asyncio.Runner
) -> None:
    """The same SA twice: with a reqid of somebody else's, and, as the control, with one of ours."""

    async def run() -> None:
        node1, node2 = cluster.layout.topology.nodes
        ends = f"src {node1.underlay.ip} dst {node2.underlay.ip}"
        remote = cluster.remote("node1")
        theirs = Tally(cluster, f"esp and src host {node1.underlay.ip} and ip[20:4] = 0x1001")
        clear = Tally(cluster, GENEVE)
        await remote.check("kill -STOP $(cat /run/geneveil/agent.lock)")
        try:
            await remote.check("ip xfrm policy flush; ip xfrm state flush")
            for reqid, is_ours in ((77, False), (OUR_REQID, True)):
                batch = THEIR_SA.format(ends=ends, reqid=reqid, key="17" * 36)
                await remote.check("ip -batch -", stdin=batch)
                assert not await ping(cluster, "node1", pod(cluster, 1))
                if is_ours:
                    await await_seen(theirs, 3)
                else:
                    await settle()
                    assert theirs.new() == 0
                await remote.check("ip -batch -", stdin=AWAY.format(ends=ends))
            assert clear.new() == 0
        finally:
            await remote.check("kill -CONT $(cat /run/geneveil/agent.lock)")

        async def carries() -> bool:
            return await ping(cluster, "node1", pod(cluster, 1))

        await wait_until(carries, "the pair to be repaired", 30)

    runner.run(run())


def test_the_sentinel_counts_what_the_witness_sees(
    cluster: Running, runner: asyncio.Runner
) -> None:
    async def run() -> None:
        assert await sentinel(cluster, "node1") == (0, 0)
        clear = Tally(cluster, GENEVE)
        async with opened(cluster, "node1", f"{REMOVE_GUARDS}; ip xfrm policy flush"):
            assert not await ping(cluster, "node1", pod(cluster, 1))
            counts: tuple[int, ...] = ()

            async def agree() -> bool:
                nonlocal counts
                await settle()
                out, _ = await sentinel(cluster, "node1")
                _, came = await sentinel(cluster, "node2")
                counts = (out, came, clear.new())
                return out >= 3 and len(set(counts)) == 1

            what = "both sentinels and the witness to agree"
            await wait_until(agree, what, 15, explain=lambda: str(counts))
            out = counts[0]

        async def said() -> bool:
            return "cleartext-on-wire" in await codes(cluster, "node1")

        await wait_until(said, "node1 to say that there was cleartext", 15)

        async def carries() -> bool:
            return await ping(cluster, "node1", pod(cluster, 1))

        await wait_until(carries, "the pair to be repaired", 30)
        clear = Tally(cluster, GENEVE)
        assert await ping(cluster, "node1", pod(cluster, 1))
        await settle()
        assert clear.new() == 0
        assert await sentinel(cluster, "node1") == (out, 0)

    runner.run(run())


BREAKING = {
    "no certificate": "rm /disk/geneveil/node.crt",
    "no operator": "echo https://192.0.2.250:9443 > /disk/geneveil/operator.url",
    "broken configuration": "",
}


@pytest.mark.parametrize("case", BREAKING)
def test_a_node_that_boots_with_something_missing_stays_closed(
    cluster: Running, runner: asyncio.Runner, case: str
) -> None:
    shared = cluster.layout.shared("node2") / "etc-geneveil/agent.yaml"
    good = shared.read_text()
    disk = cluster.layout.disk("node2") / "geneveil"
    certificate = (disk / "node.crt").read_bytes()

    async def run() -> None:
        stage = Stage(cluster)
        clear = Tally(cluster, GENEVE)
        if BREAKING[case]:
            await cluster.remote("node2").check(BREAKING[case])
        else:
            shared.write_text(good.replace("mode:", "mod:"))
        await stage.power_off("node2")
        await stage.power_on("node2")
        node2 = cluster.remote("node2")
        shown = json.loads((await node2.run("geneveil guard show -o json")).stdout)
        assert shown["state"] == "in place"
        reaches = await ping(cluster, "node2", pod(cluster, 0))
        assert case == "no operator" or not reaches
        await settle()
        assert clear.new() == 0
        shared.write_text(good)
        (disk / "node.crt").write_bytes(certificate)
        await stage.power_off("node2")
        await stage.power_on("node2")
        await await_secured(cluster, cluster.layout.topology.nodes[1])
        assert clear.new() == 0

    try:
        runner.run(run())
    finally:
        shared.write_text(good)


def test_decommissioned_it_is_as_if_it_had_never_been_there(
    cluster: Running, runner: asyncio.Runner
) -> None:
    """The last one: node2 leaves."""

    async def run() -> None:
        node2 = cluster.remote("node2")
        await node2.check(THEIRS)
        await node2.check(VICI.format(LOAD))
        refused = await node2.run("geneveil node decommission --yes")
        assert refused.status == 2
        await node2.check("kill $(cat /run/geneveil/agent.lock)")

        async def ended() -> bool:
            return (await node2.run("pgrep -f '[g]eneveil.agent'")).status != 0

        await wait_until(ended, "the agent to end", 15)
        done = await node2.run("geneveil node decommission --yes -o json")
        assert done.status == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["complete"] is True
        states = await node2.check("ip xfrm state")
        assert states.strip() == ""
        policies = await node2.check("ip xfrm policy")
        assert "reqid 77" in policies
        assert "6081" not in policies
        tables = await node2.check("nft list tables")
        assert "theirs" in tables
        assert "geneveil" not in tables
        assert (await node2.check(VICI.format(SHOW))).strip() == "['theirs']"
        keys = await node2.check(VICI.format("print(s.get_keys())"))
        assert "'keys': []" in keys, keys
        assert (await node2.check("ls /var/lib/geneveil")).split() == ["decommissioned"]
        again = await node2.run("geneveil node decommission --yes")
        assert again.status == 0
        assert (await node2.run("geneveil agent")).status == 2

    runner.run(run())
