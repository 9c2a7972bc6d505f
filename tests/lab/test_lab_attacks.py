"""What somebody on the underlay, or a node that lies, cannot do."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from geneveil.capture.io import open_capture
from geneveil.model.errors import GeneveilError
from lab import intruder
from lab.bringup import Running
from lab.deadline import wait_until
from tests.lab.conftest import OpenLab
from tests.lab.witness import GENEVE, Tally, ping, settle

pytestmark = pytest.mark.lab
_ESP = 50


@pytest.fixture(scope="module")
def cluster(open_lab: OpenLab) -> Iterator[Running]:
    with open_lab("t-attacks", nodes=3, ipsec=True) as running:
        yield running


def esp_frames(running: Running, source: str, destination: str) -> list[bytes]:
    """Whole ESP frames from one underlay address to another, as the witness has them."""
    ends = b"".join(bytes(int(part) for part in text.split(".")) for text in (source, destination))
    found = []
    try:
        with open_capture(running.layout.capture) as capture:
            for frame in capture.frames:
                if frame.data[23] == _ESP and frame.data[26:34] == ends:
                    found.append(bytes(frame.data))
    except GeneveilError:
        pass  # the witness is still writing: the last frame may be cut
    return found


def xfrm_counter(running: Running, runner: asyncio.Runner, node: str, name: str) -> int:
    text = runner.run(running.remote(node).check("cat /proc/net/xfrm_stat"))
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith(name))


def test_recorded_esp_is_dropped(cluster: Running, runner: asyncio.Runner) -> None:
    """A third machine on the wire sends node2 what node1 sent it before, to the letter."""
    a, b = cluster.layout.topology.nodes[:2]
    assert runner.run(ping(cluster, a.name, str(b.pods[0].address.ip)))
    recorded: list[bytes] = []

    async def are_recorded() -> bool:
        recorded[:] = esp_frames(cluster, str(a.underlay.ip), str(b.underlay.ip))
        return bool(recorded)

    runner.run(wait_until(are_recorded, "the witness to have recorded ESP", 10))
    before = xfrm_counter(cluster, runner, b.name, "XfrmInStateSeqError")
    frames = "\n".join(frame.hex() for frame in recorded[:5]) + "\n"
    runner.run(cluster.remote("node3").check("python3 -I /lab/replay.py", stdin=frames))

    async def refused() -> bool:
        text = await cluster.remote(b.name).check("cat /proc/net/xfrm_stat")
        line = next(x for x in text.splitlines() if x.startswith("XfrmInStateSeqError"))
        return int(line.split()[1]) >= before + len(recorded[:5])

    runner.run(wait_until(refused, "node2's kernel to count every replayed packet", 10))
    assert runner.run(ping(cluster, a.name, str(b.pods[0].address.ip)))


def test_a_genuine_certificate_of_another_chassis_opens_nothing(
    cluster: Running, runner: asyncio.Runner
) -> None:
    """node3's own address is claimed to be another chassis: its certificate does not say so."""
    node1 = cluster.remote("node1")
    victim = cluster.layout.topology.node("node3")
    clear = Tally(cluster, GENEVE)
    runner.run(node1.check("kill $(cat /run/ovn/ovn-controller.pid)"))
    find = f"ovs-vsctl --bare --columns=name find interface options:remote_ip={victim.underlay.ip}"
    runner.run(node1.check(f"ovs-vsctl set interface $({find}) options:remote_name=node9"))

    async def shut() -> bool:
        found = json.loads((await node1.run("geneveil status -o json")).stdout)
        states = {peer["chassis"]: peer["state"] for peer in found["peers"]}
        return states.get("node9", "up") != "up" and states.get("node2") == "up"

    runner.run(wait_until(shut, "node1 to shut the pair that lies, and keep the other", 20))
    assert not runner.run(ping(cluster, "node1", str(victim.pods[0].address.ip), "-c", "10"))
    assert runner.run(shut()), "it came up in the meantime"
    path = cluster.layout.disk("node1") / "log" / "charon.log"

    async def is_refused() -> bool:
        log = path.read_text(errors="replace")
        return "AUTHENTICATION_FAILED" in log or "does not match" in log or "constraint" in log

    runner.run(wait_until(is_refused, "charon's log to say that it refused", 20))
    runner.run(settle())
    assert clear.new() == 0


def test_what_an_intruder_injects_reaches_a_pod_of_a_cluster_without_ipsec(
    open_lab: OpenLab, runner: asyncio.Runner
) -> None:
    """The control of scenario `intruder`: the same frame, where nothing drops it."""
    with open_lab("t-open", nodes=2, ipsec=False) as running:
        claimed, victim = running.layout.topology.nodes
        pod = victim.pods[0]

        async def run() -> None:
            path = await intruder.read_path(running, victim, pod)
            frame = intruder.forge_geneve(claimed, victim, pod, path)
            before = await intruder.unclaimed_udp(running, pod)
            await intruder.send(running, [frame])

            async def received() -> bool:
                return await intruder.unclaimed_udp(running, pod) == before + 1

            await wait_until(received, "the pod to get the forged packet", 20)

        runner.run(run())
