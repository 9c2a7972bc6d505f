"""A random walk over faults, one to three at once, again and again, on one cluster.

What is drawn depends on the seed alone: which faults, in which order, who plays their parts, with
what gaps, for how long. Faults are combined if they claim nothing in common (`lab.fault.Part`):
they would undo one another, or one would wait in vain for what the other has taken away. One that
claims everything is a step by itself.

After each step the cluster must be well again, and the rules of `lab.fault_play` hold at each step:
nothing in clear, nothing lost on pairs that none of the step's faults touches, others' things as
before. What a step must say, and how fast it must recover, is judged as far as the other faults of
the step leave it as it is.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lab.control_plane import STANDALONE
from lab.errors import LabError
from lab.fault import UDP_A_SECOND, Belonging, Fault, Keeps, Part, recast
from lab.fault_play import FaultPlayer
from lab.health import LINGERING
from lab.lifecycle import Programs
from lab.scenario import Scenario, load_scenario, playable_names, staged
from lab.stage import Stage

NODES = ("node1", "node2", "node3")
LONGEST_HOLD_SECONDS = 30.0
_SHORTEST_SECONDS, _LONG_SECONDS, _LONGEST_SECONDS = 1.0, 5.0, 9.0
_MOST_AT_ONCE = 3
_WELL_SECONDS = 120.0
_LAST = (Part.CLOCK, Part.CHARON)
"""Injected and healed after all else, in this order. A charon that ended has nothing that others
could take from it, and its heir is whole once all else is."""

_QUIET = frozenset({Part.SWITCH, Part.OPERATOR, Part.XFRM})
"""A fault that claims nothing else changes nothing about what others say, and when they recover."""


def situations() -> list[Scenario]:
    """Those whose faults are played on a cluster as the walk has it."""
    found = [load_scenario(name) for name in playable_names(STANDALONE)[0]]
    return [s for s in found if s.shares_lab and s.cluster == (len(NODES), "Auto", False, False)]


def draw(seed: int, chosen: Sequence[Scenario], *, with_long: bool = True) -> Iterator[Fault]:
    """An endless row of steps; the same for the same seed.

    Args:
        with_long: also those that take minutes by themselves.
    """
    chance = random.Random(seed)  # noqa: S311  a walk, not a secret
    walked = [f for each in chosen for f in each.faults if f.walks and (with_long or _is_brief(f))]
    number = 0
    while True:
        number += 1
        parts = _draw_parts(chance, walked)
        if len(parts) == 1:
            yield _alone(f"step_{number}", parts[0])
            continue
        hold = chance.uniform(_SHORTEST_SECONDS, chance.choice((_LONG_SECONDS, _LONGEST_SECONDS)))
        gaps = [chance.uniform(0.0, 1.0) for _ in parts]
        yield combine(f"step_{number}", parts, gaps, hold)


def _is_brief(fault: Fault) -> bool:
    return not fault.is_long and fault.hold_seconds <= LONGEST_HOLD_SECONDS


def _draw_parts(chance: random.Random, faults: Sequence[Fault]) -> list[Fault]:
    """Two or three that claim nothing in common, one of them long at most; or one alone."""
    first, *candidates = chance.sample(faults, len(faults))
    parts, taken = [first], first.claims
    most = chance.randint(2, _MOST_AT_ONCE)
    for fault in candidates:
        if len(parts) < most and _is_brief(fault) and not taken & fault.claims:
            parts.append(fault)
            taken |= fault.claims
    chance.shuffle(parts)
    parts.sort(key=_rank)
    return [recast(fault, _draw_cast(chance)) for fault in parts]


def _rank(fault: Fault) -> int:
    return max((_LAST.index(part) + 1 for part in fault.claims if part in _LAST), default=0)


def _draw_cast(chance: random.Random) -> dict[str, str]:
    return dict(zip(NODES, chance.sample(NODES, len(NODES)), strict=True))


def _alone(name: str, fault: Fault) -> Fault:
    """A step of one fault: what stays said of earlier steps cannot be said anew."""
    says = {node: found - LINGERING for node, found in fault.says.items()}
    return replace(fault, name=name, title=fault.name, says=says)


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
    touching = [fault for fault in faults if fault.touches]
    bounding = touching[0] if len(touching) == 1 and _is_undisturbed(touching[0], faults) else None
    keeps_none = any(fault.keeps is Keeps.NONE for fault in faults)
    return Fault(
        name,
        " + ".join(fault.name for fault in faults),
        inject,
        heal,
        touches=tuple(sorted({one for fault in faults for one in fault.touches})),
        renews=tuple(sorted({one for fault in faults for one in fault.renews})),
        hold_seconds=hold_seconds,
        says=_says(faults, hold_seconds),
        keeps=Keeps.NONE if keeps_none else Keeps.UNTOUCHED,
        most_recovery_seconds=bounding.most_recovery_seconds if bounding else None,
        takes=takes,
        well_seconds=max(_WELL_SECONDS, *(fault.well_seconds for fault in faults)),
        claims=frozenset().union(*(fault.claims for fault in faults)),
    )


def _is_undisturbed(fault: Fault, faults: Sequence[Fault]) -> bool:
    return all(other is fault or other.claims <= _QUIET for other in faults)


def _says(faults: Sequence[Fault], hold_seconds: float) -> dict[str, frozenset[str]]:
    """What each says that is held for long enough and that nothing else changes."""
    said: dict[str, frozenset[str]] = {}
    for fault in faults:
        if fault.hold_seconds <= hold_seconds and _is_undisturbed(fault, faults):
            for node, found in fault.says.items():
                said[node] = said.get(node, frozenset()) | (found - LINGERING)
    return said


async def walk(
    player: FaultPlayer,
    seed: int,
    steps: int,
    may_go_on: Callable[[], bool],
    *,
    with_long: bool = True,
) -> int:
    """Play up to so many steps; return how many were.

    Raises:
        LabError: a rule was broken; names seed and step, which show it again.
    """
    steps_of = draw(seed, situations(), with_long=with_long)
    for number in range(steps):
        if not may_go_on():
            return number
        fault = next(steps_of)
        outcome = await player.play(fault)
        if outcome.broken:
            brief = "" if with_long else " --brief"
            raise LabError(
                f"random walk, seed {seed}, step {number + 1} ({fault.title})",
                why="; ".join(outcome.broken),
                remedy=f"again: python -m lab walk --seed {seed} --steps {number + 1}{brief}",
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
    *,
    with_long: bool = True,
) -> int:
    """A walk on a cluster of its own, ended by the control frames."""
    first = situations()[0]
    say(f"random walk, seed {seed}, {steps} steps")
    async with staged([first], programs, transport, data_dir, name="walk") as stage:
        await stage.start_traffic(UDP_A_SECOND)
        player = FaultPlayer(stage, say)
        done = await walk(player, seed, steps, may_go_on, with_long=with_long)
        stage.touched.update(node.name for node in stage.nodes)
        finished = await stage.finish()
    if finished.broken_rules:
        raise LabError(f"random walk, seed {seed}", why="; ".join(finished.broken_rules))
    return done
