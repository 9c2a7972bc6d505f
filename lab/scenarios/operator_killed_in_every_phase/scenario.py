"""A roll-over with an operator that keeps dying."""

from lab.rollover import await_phases, issuers, pass_waves, rotate
from lab.stage import Stage

TITLE = "The operator is killed in every phase of a roll-over"
NODES = 3
_PHASES = frozenset({"introduce", "switch", "retire"})
_MOST_ROLL_OVERS = 3
"""A phase may be over before anybody saw it: then the next roll-over is to show it."""


async def play(stage: Stage) -> None:
    killed: list[str] = []
    rolled_over = 0
    while not set(killed) >= _PHASES and rolled_over < _MOST_ROLL_OVERS:
        await _roll_over(stage, killed)
        rolled_over += 1
    stage.note(f"killed in {', '.join(killed)}, in {rolled_over} roll-overs")
    missed = _PHASES - set(killed)
    assert not missed, f"not once killed in {', '.join(sorted(missed))}"
    assert not (problems := await stage.control_plane.check_log()), problems


async def _roll_over(stage: Stage, killed: list[str]) -> None:
    before = await issuers(stage)

    async def kill(phase: str) -> None:
        await stage.control_plane.crash_operator()
        killed.append(phase)

    await rotate(stage)
    seen = await await_phases(stage, until="switch", on_phase=kill)
    await stage.await_well()
    await pass_waves(stage)
    await await_phases(stage, seen_before=seen, on_phase=kill)
    await stage.await_well()
    after = await issuers(stage)
    assert not set(before.values()) & set(after.values()), f"still the old authority: {after}"
