"""An IPv6 underlay and pods of both families: flows, guard, faults, and the witness over all."""

import asyncio
import json
import secrets
import struct
from collections.abc import Iterator

import pytest

from geneveil.verify.flows import FlowKind, Phase
from lab.deadline import wait_until
from lab.fault import UDP_A_SECOND, Fault
from lab.fault_play import FaultPlayer
from lab.probes import plan_exchanges, send_exchanges
from lab.scenario import load_scenario
from lab.stage import Stage
from lab.topology import GENEVE_PORT
from tests.lab.conftest import OpenLab
from tests.lab.witness import GENEVE, Tally, await_seen, ping, settle

pytestmark = [pytest.mark.lab, pytest.mark.traffic]

SHORT = [fault for fault in load_scenario("ipv6_underlay").faults if fault.is_short]
IN_THE_OPEN = {FlowKind.HOST_TO_HOST, FlowKind.POD_TO_HOST}
ICMP6_HEADERS, ICMP_HEADERS = 48, 28
UDP, FRAGMENT, DESTINATION_OPTIONS = 17, 44, 60


@pytest.fixture(scope="module")
def stage(open_lab: OpenLab, runner: asyncio.Runner) -> Iterator[Stage]:
    with open_lab("t-ipv6", nodes=3, ipsec=True, ipv6=True) as running:
        yield Stage(running)


@pytest.fixture(scope="module")
def player(stage: Stage, runner: asyncio.Runner) -> FaultPlayer:
    runner.run(stage.start_traffic(UDP_A_SECOND))
    return FaultPlayer(stage, slack=4.0)  # see test_lab_faults


def test_every_flow_arrives_and_no_mark_of_the_overlay_is_on_the_wire(
    stage: Stage, runner: asyncio.Runner
) -> None:
    topology = stage.running.layout.topology
    mtu_bytes = stage.running.layout.cluster.pod_mtu_bytes
    assert mtu_bytes == 1380
    exchanges = plan_exchanges(topology, Phase.ENABLED, mtu_bytes, secrets.token_bytes(16))
    clear, esp = Tally(stage.running, GENEVE), Tally(stage.running, "ip6 proto 50")
    probes = runner.run(send_exchanges(stage.running, exchanges))
    assert [probe.id for probe in probes if not probe.delivered] == []
    assert all(":" in probe.destination.address for probe in probes)
    runner.run(await_seen(esp, 101))
    runner.run(settle())
    assert clear.new() == 0
    seen = stage.running.layout.capture.read_bytes()
    across = [p for p in probes if p.kind is not FlowKind.POD_TO_POD_SAME_NODE]
    shown = {p.kind for p in across if p.mark in seen}
    assert shown == IN_THE_OPEN, "the control: what does not ride Geneve is in clear"
    assert [p.id for p in across if p.kind in IN_THE_OPEN and p.mark not in seen] == []


def test_a_full_packet_of_each_family_crosses_and_one_byte_more_is_told(
    stage: Stage, runner: asyncio.Runner
) -> None:
    pod = stage.running.layout.topology.node("node2").pods[0]
    mtu_bytes = stage.running.layout.cluster.pod_mtu_bytes
    whole = Tally(stage.running, "ip6[6] == 44")
    for address, headers in ((pod.address.ip, ICMP_HEADERS), (pod.newest_address, ICMP6_HEADERS)):
        options = ("-c", "2", "-M", "do", "-s")
        fits = str(mtu_bytes - headers)
        assert runner.run(ping(stage.running, "node1", str(address), *options, fits))
        longer = str(mtu_bytes - headers + 1)
        assert not runner.run(ping(stage.running, "node1", str(address), *options, longer))
    runner.run(settle())
    assert whole.new() == 0, "something was fragmented"


@pytest.mark.parametrize("fault", SHORT, ids=lambda fault: fault.name)
def test_fault(fault: Fault, player: FaultPlayer, runner: asyncio.Runner) -> None:
    assert not runner.run(player.play(fault)).broken


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def injected(stage: Stage) -> dict[str, list[bytes]]:
    """Geneve in clear to node2, as a machine on the wire would send it; frames by shape."""
    node = stage.running.layout.topology.node("node2")
    source = node.underlay.network.network_address + 200
    ends = source.packed + node.underlay.ip.packed
    geneve = struct.pack("!BBHI", 0, 0, 0x6558, 1 << 8) + bytes(64)
    udp = struct.pack("!HHHH", 40000, GENEVE_PORT, 8 + len(geneve), 0) + geneve
    pseudo = ends + struct.pack("!II", len(udp), UDP)
    udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp)) + udp[8:]
    ethernet = bytes(int(part, 16) for part in node.underlay_mac.split(":"))
    ethernet += bytes.fromhex("020000000002") + b"\x86\xdd"

    def frame(following: int, payload: bytes) -> bytes:
        header = struct.pack("!IHBB", 6 << 28, len(payload), following, 64)
        return ethernet + header + ends + payload

    def piece(offset: int, data: bytes, more: bool) -> bytes:
        return frame(FRAGMENT, struct.pack("!BBHI", UDP, 0, offset | more, 7) + data)

    padded = bytes([UDP, 0, 1, 4, 0, 0, 0, 0])  # PadN: RFC 8200, 4.2
    return {
        "plain": [frame(UDP, udp)],
        "behind an extension header": [frame(DESTINATION_OPTIONS, padded + udp)],
        "in fragments": [piece(0, udp[:48], True), piece(48, udp[48:], False)],
    }


def test_geneve_in_clear_from_the_wire_is_dropped_and_counted(
    stage: Stage, runner: asyncio.Runner
) -> None:
    async def dropped() -> int:
        text = await stage.running.remote("node2").run("geneveil guard show -o json")
        return int(json.loads(text.stdout)["counters"]["cleartext_in"]["packets"])

    async def run() -> None:
        for shape, frames in injected(stage).items():
            before = await dropped()
            lines = "".join(frame.hex() + "\n" for frame in frames)
            remote = stage.running.remote("node3")
            await remote.check("python3 -I /lab/replay.py", stdin=lines)

            async def counted(before: int = before) -> bool:
                return await dropped() == before + 1

            await wait_until(counted, f"Geneve {shape} to be dropped and counted", 15)

    runner.run(run())


def test_without_sas_nothing_leaves_and_the_pair_comes_back(
    stage: Stage, runner: asyncio.Runner
) -> None:
    peer = stage.running.layout.topology.node("node2").pods[0]
    remote = stage.running.remote("node1")
    clear = Tally(stage.running, f"{GENEVE} and ip6 src 2001:db8:2::1")

    async def run() -> None:
        await remote.check("kill -STOP $(cat /run/geneveil/agent.lock)")
        await remote.check("kill -STOP $(cat /run/charon-systemd.pid)")
        await remote.check("ip xfrm policy flush; ip xfrm state flush")
        assert not await ping(stage.running, "node1", str(peer.newest_address))
        assert not await ping(stage.running, "node1", str(peer.address.ip))
        await remote.check("kill -CONT $(cat /run/charon-systemd.pid)")
        await remote.check("kill -CONT $(cat /run/geneveil/agent.lock)")

        async def again() -> bool:
            found = await stage.status("node1")
            return all(p["state"] == "up" for p in found["peers"]) and await ping(
                stage.running, "node1", str(peer.newest_address), "-c", "1"
            )

        await wait_until(again, "node1 to come back", 40)
        await settle()

    runner.run(run())
    assert clear.new() == 0


def test_a_deleted_guard_is_back_and_nothing_was_in_clear(
    stage: Stage, runner: asyncio.Runner
) -> None:
    remote = stage.running.remote("node1")
    clear = Tally(stage.running, f"{GENEVE} and ip6 src 2001:db8:2::1")

    async def run() -> None:
        await remote.check("nft delete table inet geneveil")

        async def stands() -> bool:
            return (await remote.run("geneveil guard show")).status == 0

        await wait_until(stands, "the guard to be back", 15)
        await settle()

    runner.run(run())
    assert clear.new() == 0


def test_the_witness_sees_a_control_frame_over_ipv6(stage: Stage, runner: asyncio.Runner) -> None:
    """The last test of this lab: what every "nothing in clear" above stands on."""
    runner.run(stage.control())
