"""Faults over an IPv6 underlay; see README.md in this folder."""

from dataclasses import replace

from lab.bringup import await_wired
from lab.fault import Belonging, Fault
from lab.scenarios.agent_restarts.scenario import FAULTS as AGENT_FAULTS
from lab.scenarios.charon_dies.scenario import FAULTS as CHARON_FAULTS
from lab.scenarios.esp_blocked_auto.scenario import FAULTS as ESP_FAULTS
from lab.stage import Stage

TITLE = "A choice of faults over an IPv6 underlay"
NODES = 3
IPV6 = True
_BORROWED = {"agent_killed", "charon_killed", "esp_blocked_both_ways"}


async def _cut_power(stage: Stage) -> None:
    await stage.power_off("node2")


async def _restore_power(stage: Stage) -> None:
    await stage.power_on("node2")
    await await_wired(stage.running, stage.running.layout.topology.node("node2"))
    await stage.await_well()
    assert stage.traffic is not None
    await stage.traffic.rejoin("node2")


FAULTS = (
    *(
        replace(
            fault,
            name=f"ipv6_{fault.name}",
            title=f"IPv6: {fault.title}",
            is_short=fault.name != "esp_blocked_both_ways",
        )
        for fault in (*AGENT_FAULTS, *ESP_FAULTS, *CHARON_FAULTS)
        if fault.name in _BORROWED
    ),
    Fault(
        "ipv6_power_cut",
        "IPv6: a node loses its power and boots",
        _cut_power,
        _restore_power,
        touches=("node2",),
        hold_seconds=20.0,
        most_recovery_seconds=60.0,
        takes=frozenset(Belonging),
    ),
)
