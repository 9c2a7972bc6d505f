"""A node loses its power and boots again; a node is rebooted in good order."""

from lab.bringup import await_wired
from lab.fault import Belonging, Fault, Keeps, codes
from lab.stage import Stage

TITLE = "A node's power is cut, and a node is rebooted"
NODES = 3
_OFF_SECONDS = 22.0
"""Longer than a dead peer stays unnoticed."""

_BOOT_SECONDS = 30.0
_STOP = (
    "kill $(cat /run/geneveil/agent.lock);"
    " touch /run/charon-stays-away; kill $(cat /run/charon-systemd.pid);"
    " kill $(cat /run/ovn/ovn-controller.pid) $(cat /run/openvswitch/ovs-vswitchd.pid);"
    " for n in $(seq 100); do pidof charon-systemd > /dev/null || break; sleep 0.1; done;"
    " sync"
)


async def _cut(stage: Stage) -> None:
    await stage.power_off("node2")


async def _shut_down(stage: Stage) -> None:
    await stage.running.remote("node2").check(_STOP)
    await stage.power_off("node2")


async def _boot(stage: Stage) -> None:
    await stage.power_on("node2")
    await await_wired(stage.running, stage.running.layout.topology.node("node2"))
    assert stage.traffic is not None
    await stage.traffic.rejoin("node2")


FAULTS = (
    Fault(
        "node_power_cut",
        "node: power cut, off for 22 s, booted",
        _cut,
        _boot,
        touches=("node2",),
        hold_seconds=_OFF_SECONDS,
        says=codes(["node1", "node3"], "peer-silent"),
        keeps=Keeps.UNTOUCHED,
        most_recovery_seconds=_BOOT_SECONDS,
        takes=frozenset(Belonging),
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
    ),
)
