"""A node loses its power and boots again; a node is rebooted in good order."""

import json
import re

from lab.bringup import await_wired
from lab.deadline import wait_until
from lab.fault import Belonging, Fault, Keeps, codes
from lab.stage import Stage

TITLE = "A node's power is cut, and a node is rebooted"
NODES = 3
_OFF_SECONDS = 22.0
"""Longer than a peer may be silent unnamed, 10 s, and shorter than one may be dead unnoticed."""

_LONG_OFF_SECONDS = 100.0
"""Longer than that too: its SAs end after 77 s."""

_BOOT_SECONDS = 30.0
_GIVEN_UP_SECONDS = 25.0
"""From the moment that the node is wired: a new IKE_SA with each peer, which is to settle."""

_STOP = (
    "kill $(cat /run/geneveil/agent.lock);"
    " touch /run/charon-stays-away; kill $(cat /run/charon-systemd.pid);"
    " kill $(cat /run/ovn/ovn-controller.pid) $(cat /run/openvswitch/ovs-vswitchd.pid);"
    " for n in $(seq 100); do pidof charon-systemd > /dev/null || break; sleep 0.1; done;"
    " sync"
)


async def _cut(stage: Stage) -> None:
    await stage.power_off(stage.at("node2"))


async def _shut_down(stage: Stage) -> None:
    await stage.remote("node2").check(_STOP)
    await stage.power_off(stage.at("node2"))


async def _boot(stage: Stage) -> None:
    await boot_under_traffic(stage, "node2")


async def boot_under_traffic(stage: Stage, part: str) -> None:
    """Boot a node whose pod sends as soon as it is there: before OVN has wired it, before the agent
    runs. What its switch lets through then meets the guard."""
    node = stage.node(part)
    await stage.power_on(node.name, until="network")
    assert stage.traffic is not None
    await stage.traffic.rejoin(node.name)
    await stage.running.reached(node.name, "services")
    await await_wired(stage.running, node)
    await _note_what_the_guard_stopped(stage, node.name)


async def _note_what_the_guard_stopped(stage: Stage, name: str) -> None:
    text = (await stage.running.remote(name).run("geneveil guard show -o json")).stdout
    dropped = int(json.loads(text)["counters"]["cleartext_out"]["packets"])
    stage.note(
        f"{name} booted: its guard has stopped {dropped} packets that would have left in clear"
    )


async def _come_back(stage: Stage) -> None:
    """Its peers give up what the cut left, and do not wait for it until the node may end again."""
    await _boot(stage)
    node = stage.node("node2")
    standing = re.compile(
        rf"^geneveil-.*-{re.escape(str(node.underlay.ip))}: #\d+, ESTABLISHED", re.MULTILINE
    )

    async def single() -> bool:
        listed = [
            await stage.running.remote(peer.name).check(
                "swanctl --list-sas --uri unix:///run/charon.vici"
            )
            for peer in stage.nodes
            if peer is not node
        ]
        return all(len(standing.findall(text)) == 1 for text in listed)

    await wait_until(single, "one IKE_SA of each peer", _GIVEN_UP_SECONDS, poll_seconds=0.5)


FAULTS = (
    Fault(
        "node_off_for_long",
        f"node: power cut, off for {_LONG_OFF_SECONDS:g} s, booted",
        _cut,
        _boot,
        touches=("node2",),
        hold_seconds=_LONG_OFF_SECONDS,
        says=codes(["node1", "node3"], "peer-silent", "peer-down"),
        keeps=Keeps.UNTOUCHED,
        most_recovery_seconds=_BOOT_SECONDS,
        takes=frozenset(Belonging),
        is_long=True,
    ),
    Fault(
        "node_power_cut",
        "node: power cut, off for 22 s, booted",
        _cut,
        _come_back,
        touches=("node2",),
        hold_seconds=_OFF_SECONDS,
        says=codes(["node1", "node3"], "peer-silent"),
        keeps=Keeps.UNTOUCHED,
        most_recovery_seconds=_BOOT_SECONDS,
        takes=frozenset(Belonging),
        is_long=True,
    ),
    Fault(
        "node_rebooted",
        "node: rebooted in good order",
        _shut_down,
        _boot,
        touches=("node2",),
        hold_seconds=4.0,
        says=codes(["node1", "node3"], "peer-down"),
        keeps=Keeps.UNTOUCHED,
        most_recovery_seconds=_BOOT_SECONDS,
        takes=frozenset(Belonging),
        is_long=True,
    ),
)
