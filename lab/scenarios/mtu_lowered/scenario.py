"""A node's underlay MTU becomes too small for its pods' longest packet; see README.md."""

import asyncio
import re

from geneveil.model.mtu import Overlay, longest_pod_packet_bytes
from lab.capture_slice import CaptureSlice
from lab.fault import EVERYTHING, Fault, Keeps, Part, Step, codes
from lab.stage import Stage
from lab.topology import UNDERLAY_INTERFACE, UNDERLAY_MTU_BYTES, Node

TITLE = "The MTU of a node's underlay interface is lowered"
NODES = 3
_IPV4_AND_ICMP_BYTES = 28
_PINGS = 3
_SETTLE_SECONDS = 0.3
_FRAGMENTS = "ip[6:2] & 0x3fff != 0"


async def _set_mtu(stage: Stage, mtu_bytes: int) -> None:
    await stage.remote("node1").check(f"ip link set dev {UNDERLAY_INTERFACE} mtu {mtu_bytes}")


async def _ping(
    stage: Stage, source: Node, destination: Node, packet_bytes: int, may_fragment: bool
) -> tuple[int, str]:
    """Echo requests of that length from pod to pod: how many were answered, and what was said."""
    word = "dont" if may_fragment else "do"
    done = await stage.running.remote(source.name).run(
        f"ip netns exec {source.pods[1].namespace} ping -c {_PINGS} -i 0.1 -W 2 -M {word} "
        f"-s {packet_bytes - _IPV4_AND_ICMP_BYTES} {destination.pods[1].address.ip}"
    )
    answered = re.search(r"(\d+) received", done.stdout)
    assert answered, f"ping said: {done.stdout}{done.stderr}"
    return int(answered.group(1)), done.stdout


async def _forget_path_mtu(stage: Stage) -> None:
    """What a pod heard about the path's MTU would hold for ten minutes."""
    pod = stage.node("node1").pods[1]
    await stage.remote("node1").check(f"ip -n {pod.namespace} route flush cache")


def _lower(mtu_bytes: int) -> Step:
    fits = longest_pod_packet_bytes(Overlay(mtu_bytes), nat_t=False)

    async def inject(stage: Stage) -> None:
        full = stage.running.layout.cluster.pod_mtu_bytes
        here, there = stage.node("node1"), stage.node("node2")
        wire = CaptureSlice(stage.running.layout.capture)
        assert (await _ping(stage, here, there, full, may_fragment=False))[0] == _PINGS
        await _set_mtu(stage, mtu_bytes)
        answered, said = await _ping(stage, here, there, full, may_fragment=False)
        assert answered == 0, said
        assert f"mtu = {fits}" in said or f"mtu={fits}" in said, said
        await _forget_path_mtu(stage)
        assert (await _ping(stage, here, there, fits, may_fragment=False))[0] == _PINGS
        assert (await _ping(stage, here, there, full, may_fragment=True))[0] == 0
        await asyncio.sleep(_SETTLE_SECONDS)
        wire.advance()
        fragments = await asyncio.to_thread(wire.count, _FRAGMENTS)
        assert fragments == 0, f"{fragments} fragments on the wire"
        stage.note(f"underlay {mtu_bytes}: packets of up to {fits} bytes cross, longer ones do not")

    return inject


async def _raise(stage: Stage) -> None:
    await _set_mtu(stage, UNDERLAY_MTU_BYTES)
    await _forget_path_mtu(stage)
    full = stage.running.layout.cluster.pod_mtu_bytes
    here, there = stage.node("node1"), stage.node("node2")
    answered, said = await _ping(stage, here, there, full, may_fragment=False)
    assert answered == _PINGS, said


def _fault(mtu_bytes: int) -> Fault:
    return Fault(
        f"mtu_{mtu_bytes}",
        f"wire: MTU of one node's underlay lowered to {mtu_bytes} for 15 s, "
        "traffic of short packets",
        _lower(mtu_bytes),
        _raise,
        hold_seconds=15.0,
        says=codes(["node1"], "underlay-mtu-too-small"),
        keeps=Keeps.ALL,
        # All its pings are to cross but those that are too long.
        claims=EVERYTHING - {Part.FILES, Part.CLOCK, Part.OPERATOR},
    )


FAULTS = (_fault(1400), _fault(1300))
