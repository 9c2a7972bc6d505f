"""ESP is dropped everywhere, in a cluster that never sends any; see README.md."""

import asyncio

from lab.esp_blocks import ESP, block_esp, unblock_esp
from lab.fault import Fault, Keeps
from lab.stage import Stage

TITLE = "ESP is dropped everywhere; with Always nobody notices"
NODES = 3
ENCAPSULATION = "Always"


async def _block(stage: Stage) -> None:
    names = [node.name for node in stage.nodes]
    for source in names:
        for destination in names:
            if source != destination:
                await block_esp(stage, source, destination)


async def _unblock(stage: Stage) -> None:
    for node in stage.nodes:
        status = await stage.status(node.name)
        assert all(p["encapsulated"] and not p["fallbackSince"] for p in status["peers"]), status
        await unblock_esp(stage, node.name)
    plain = await asyncio.to_thread(stage.count_frames, f"ip proto {ESP}")
    in_udp = await asyncio.to_thread(stage.count_frames, "udp port 4500")
    assert plain == 0, f"the witness saw {plain} packets of ESP outside UDP"
    assert in_udp > 1000, f"the witness saw {in_udp} packets in UDP 4500"


FAULTS = (
    Fault(
        "esp_blocked_always",
        "ESP dropped everywhere, encapsulation Always",
        _block,
        _unblock,
        hold_seconds=6.0,
        keeps=Keeps.ALL,
    ),
)
