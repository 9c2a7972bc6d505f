"""A random walk over faults: two or three at once, again and again, on one cluster.

What is drawn depends on the seed alone. Faults of one situation are not combined, since they would
undo one another; those that need minutes by themselves are left out. After each step the cluster
must be well again, and the rules of `lab.fault_play` hold at every step: nothing in clear, nothing
lost on pairs that none of the step's faults touches, others' things as before.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lab.errors import LabError
from lab.fault import UDP_A_SECOND, Belonging, Fault, Keeps
from lab.fault_play import FaultPlayer
from lab.lifecycle import Programs
from lab.scenario import Scenario, load_scenario, staged
from lab.stage import Stage

SITUATIONS = (
    "state_emptied",
    "wire_bad",
    "wire_cut",
    "switch_daemons",
    "agent_restarts",
    "charon_dies",
)
"""In the order of injection: what empties a daemon comes before what ends it."""

LONGEST_HOLD_SECONDS = 30.0
_SHORTEST_SECONDS, _LONGEST_SECONDS = 1.0, 6.0
_MOST_AT_ONCE = 3
_WELL_SECONDS = 120.0


def draw(seed: int, situations: Sequence[Scenario]) -> Iterator[Fault]:
    """An endless row of combined faults; the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311  a walk, not a secret
    number = 0
    while True:
        number += 1
        chosen = chance.sample(list(situations), chance.randint(2, _MOST_AT_ONCE))
        chosen.sort(key=situations.index)
        faults = [
            chance.choice([f for f in s.faults if f.hold_seconds <= LONGEST_HOLD_SECONDS])
            for s in chosen
        ]
        hold = chance.uniform(_SHORTEST_SECONDS, _LONGEST_SECONDS)
        gaps = [chance.uniform(0.0, 1.0) for _ in faults]
        yield combine(f"step_{number}", faults, gaps, hold)


def combine(
    name: str, faults: Sequence[Fault], gaps: Sequence[float], hold_seconds: float
) -> Fault:
    """Several faults as one: injected with gaps (seconds), held, and healed in the same order."""

    async def inject(stage: Stage) -> None:
        for fault, gap in zip(faults, gaps, strict=True):
            await fault.inject(stage)
            await asyncio.sleep(gap)

    async def heal(stage: Stage) -> None:
        for fault in faults:
            if fault.heal is not None:
                await fault.heal(stage)

    takes: frozenset[Belonging] = frozenset().union(*(fault.takes for fault in faults))
    return Fault(
        name,
        " + ".join(fault.name for fault in faults),
        inject,
        heal,
        touches=tuple(sorted({one for fault in faults for one in fault.touches})),
        hold_seconds=hold_seconds,
        keeps=Keeps.UNTOUCHED,
        takes=takes,
        well_seconds=_WELL_SECONDS,
    )


async def walk(player: FaultPlayer, seed: int, steps: int, may_go_on: Callable[[], bool]) -> int:
    """Play up to so many steps; return how many were.

    Raises:
        LabError: a rule was broken; names seed and step, which show it again.
    """
    steps_of = draw(seed, [load_scenario(name) for name in SITUATIONS])
    for number in range(steps):
        if not may_go_on():
            return number
        fault = next(steps_of)
        outcome = await player.play(fault)
        if outcome.broken:
            raise LabError(
                f"random walk, seed {seed}, step {number + 1} ({fault.title})",
                why="; ".join(outcome.broken),
                remedy=f"again: python -m lab walk --seed {seed} --steps {number + 1}",
            )
    return steps


async def walk_alone(
    programs: Programs,
    transport: str,
    data_dir: Path,
    seed: int,
    steps: int,
    say: Callable[[str], None],
    may_go_on: Callable[[], bool],
) -> int:
    """A walk on a cluster of its own, ended by the control frame."""
    first = load_scenario(SITUATIONS[0])
    say(f"random walk, seed {seed}, {steps} steps")
    async with staged([first], programs, transport, data_dir, name="walk") as stage:
        await stage.start_traffic(UDP_A_SECOND)
        done = await walk(FaultPlayer(stage, say), seed, steps, may_go_on)
        stage.touched.update(node.name for node in stage.nodes)
        finished = await stage.finish()
    if finished.broken_rules:
        raise LabError(f"random walk, seed {seed}", why="; ".join(finished.broken_rules))
    return done
