"""A roll-over with an operator that keeps dying."""

from lab.rollover import await_phases, issuers, pass_waves, rotate
from lab.stage import Stage

TITLE = "The operator is killed in every phase of a roll-over"
NODES = 3


async def play(stage: Stage) -> None:
    before = await issuers(stage)
    killed: list[str] = []

    async def kill(phase: str) -> None:
        await stage.control_plane.crash_operator()
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
    assert not (problems := await stage.control_plane.check_log()), problems
