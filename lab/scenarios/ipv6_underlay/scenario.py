"""Faults over an IPv6 underlay; see README.md in this folder."""

from dataclasses import replace

from lab.fault import Belonging, Fault
from lab.scenarios.agent_restarts.scenario import FAULTS as AGENT_FAULTS
from lab.scenarios.charon_dies.scenario import FAULTS as CHARON_FAULTS
from lab.scenarios.esp_blocked_auto.scenario import FAULTS as ESP_FAULTS
from lab.scenarios.node_power.scenario import boot_under_traffic
from lab.scenarios.state_emptied.scenario import FAULTS as STATE_FAULTS
from lab.scenarios.wire_bad.scenario import FAULTS as BAD_WIRE_FAULTS
from lab.scenarios.wire_cut.scenario import FAULTS as CUT_WIRE_FAULTS
from lab.stage import Stage

TITLE = "A choice of faults over an IPv6 underlay"
NODES = 3
IPV6 = True
_BORROWED = {
    "agent_killed",
    "charon_killed",
    "esp_blocked_both_ways",
    "guard_rule_deleted",
    "loss_20_percent",
    "nftables_flushed",
    "partition_1_s",
    "partition_30_s",
    "xfrm_flushed",
}
_SHORT = {"agent_killed", "charon_killed"}


async def _cut_power(stage: Stage) -> None:
    await stage.power_off("node2")


async def _restore_power(stage: Stage) -> None:
    await boot_under_traffic(stage, "node2")


FAULTS = (
    *(
        replace(
            fault,
            name=f"ipv6_{fault.name}",
            title=f"IPv6: {fault.title}",
            is_short=fault.name in _SHORT,
        )
        for fault in (
            *AGENT_FAULTS,
            *ESP_FAULTS,
            *CHARON_FAULTS,
            *STATE_FAULTS,
            *BAD_WIRE_FAULTS,
            *CUT_WIRE_FAULTS,
        )
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
