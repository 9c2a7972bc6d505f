"""ESP is dropped between node1 and node2, in one direction or both; see README.md."""

import time
from typing import Any

from lab.daemons import renew_agent, signal_agent
from lab.deadline import wait_until
from lab.esp_blocks import block_esp, unblock_esp
from lab.fault import Fault, Step
from lab.stage import Stage

TITLE = "ESP is dropped between two nodes; Auto finds out, and returns"
NODES = 3
_FALLBACK_SECONDS = 40.0
_RETURN_SECONDS = 400.0
_OUTAGE_SECONDS = 20.0


async def _peer(stage: Stage, node: str, peer: str) -> dict[str, Any]:
    status = await stage.status(stage.at(node))
    return next(p for p in status["peers"] if p["chassis"] == stage.at(peer))


def _block(*directions: tuple[str, str]) -> Step:
    async def inject(stage: Stage) -> None:
        begun = time.monotonic()
        for source, destination in directions:
            await block_esp(stage, source, destination)

        async def fallen_back() -> bool:
            ends = [await _peer(stage, "node1", "node2"), await _peer(stage, "node2", "node1")]
            return all(p["encapsulated"] for p in ends) and any(p["fallbackSince"] for p in ends)

        await wait_until(fallen_back, "the pair to ride in UDP", _FALLBACK_SECONDS)
        stage.note(f"the fallback stood {time.monotonic() - begun:.1f} s after ESP was dropped")

    return inject


def _unblock(*nodes: str) -> Step:
    async def heal(stage: Stage) -> None:
        begun = time.monotonic()
        for node in nodes:
            await unblock_esp(stage, node)

        async def returned() -> bool:
            ends = [await _peer(stage, "node1", "node2"), await _peer(stage, "node2", "node1")]
            return not any(p["encapsulated"] or p["fallbackSince"] for p in ends)

        await wait_until(returned, "the pair to return to ESP", _RETURN_SECONDS)
        stage.note(f"back in plain ESP {time.monotonic() - begun:.1f} s after it got through again")

    return heal


async def _both_and_an_agent_dies(stage: Stage) -> None:
    await _block(("node1", "node2"), ("node2", "node1"))(stage)
    await signal_agent(stage, "node2", "KILL")
    await renew_agent(stage, "node2")


FAULTS = (
    Fault(
        "esp_blocked_both_ways",
        "ESP dropped both ways between two nodes, encapsulation Auto",
        _both_and_an_agent_dies,
        _unblock("node1", "node2"),
        touches=("node1-node2",),
        is_long=True,
        hold_seconds=10.0,
        says={"node2": frozenset({"esp-blocked"})},
        most_outage_seconds=_OUTAGE_SECONDS,
        most_recovery_seconds=0.5,
        is_short=True,
    ),
    Fault(
        "esp_blocked_one_way",
        "ESP dropped one way, encapsulation Auto",
        _block(("node1", "node2")),
        _unblock("node2"),
        touches=("node1-node2",),
        is_long=True,
        hold_seconds=5.0,
        says={"node2": frozenset({"esp-blocked"})},
        most_outage_seconds=_OUTAGE_SECONDS,
        most_recovery_seconds=0.5,
    ),
    Fault(
        "esp_blocked_the_other_way",
        "ESP dropped the other way, encapsulation Auto",
        _block(("node2", "node1")),
        _unblock("node1"),
        touches=("node1-node2",),
        is_long=True,
        hold_seconds=5.0,
        most_outage_seconds=_OUTAGE_SECONDS,
        most_recovery_seconds=0.5,
    ),
)
