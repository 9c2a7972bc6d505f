"""A roll-over with an operator that keeps dying."""

import asyncio

from lab.rollover import await_phases, issuers, pass_waves, rotate
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = "The operator is killed in every phase of a roll-over"
NODES = 3


async def play(stage: Stage) -> None:
    before = await issuers(stage)
    central = stage.running.remote(CENTRAL)
    killed: list[str] = []

    async def kill(phase: str) -> None:
        await central.run("pkill -9 -f '[g]eneveil operator run'")
        await asyncio.sleep(2)
        await central.check(
            "setsid geneveil operator run --away-after 60 "
            "< /dev/null >> /disk/log/operator.log 2>&1 &"
        )
        killed.append(phase)

    await rotate(stage)
    seen = await await_phases(stage, until="switch", on_phase=kill)
    await stage.await_well()
    await pass_waves(stage)
    await await_phases(stage, seen_before=seen, on_phase=kill)
    stage.note("killed in: " + ", ".join(killed))
    await stage.await_well()
    after = await issuers(stage)
    assert not set(before.values()) & set(after.values()), f"still the old authority: {after}"
    log = await stage.operator("log", "--check")
    assert log["whole"], log["problems"]
