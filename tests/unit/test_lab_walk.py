"""The random walk: what is drawn, and how faults become one."""

from collections.abc import Callable
from itertools import combinations, islice

import pytest

from lab.fault import EVERYTHING, Belonging, Fault, Keeps, Part, codes
from lab.scenario import Scenario
from lab.stage import Stage
from lab.walk import NODES, combine, draw, situations

STEPS = 300


async def _nothing(stage: Stage) -> None: ...


@pytest.fixture(scope="module")
def known() -> list[Scenario]:
    return situations()


@pytest.fixture(scope="module")
def faults(known: list[Scenario]) -> dict[str, Fault]:
    return {fault.name: fault for scenario in known for fault in scenario.faults}


def titles(seed: int, known: list[Scenario], steps: int = 20, with_long: bool = True) -> list[str]:
    return [fault.title for fault in islice(draw(seed, known, with_long=with_long), steps)]


def test_a_walk_depends_on_its_seed_alone(known: list[Scenario]) -> None:
    assert titles(7, known) == titles(7, known)
    assert titles(7, known) != titles(8, known)
    assert len(set(titles(7, known))) > 10


def test_faults_that_claim_the_same_are_not_combined(
    known: list[Scenario], faults: dict[str, Fault]
) -> None:
    steps = [[faults[name] for name in t.split(" + ")] for t in titles(3, known, STEPS)]
    for step in steps:
        assert 1 <= len(step) <= 3
        assert not any(a.claims & b.claims for a, b in combinations(step, 2))
        assert all(fault.walks for fault in step)
        assert len(step) == 1 or all(fault.claims != EVERYTHING for fault in step)
    assert sum(len(step) > 1 for step in steps) > STEPS / 2


def test_in_the_long_run_everything_is_played(
    known: list[Scenario], faults: dict[str, Fault]
) -> None:
    steps = [frozenset(title.split(" + ")) for title in titles(3, known, 6000)]
    played = frozenset().union(*steps)
    assert played == {name for name, fault in faults.items() if fault.walks}
    assert len(known) >= 15
    assert any({"xfrm_flushed", "charon_cleared"} <= step for step in steps), "one situation's"


def test_a_brief_walk_is_without_what_takes_minutes(
    known: list[Scenario], faults: dict[str, Fault]
) -> None:
    for title in titles(3, known, STEPS, with_long=False):
        for name in title.split(" + "):
            assert not faults[name].is_long
            assert faults[name].hold_seconds <= 30


def test_every_node_plays_every_part(known: list[Scenario]) -> None:
    touched = {one for step in islice(draw(3, known), STEPS) for one in step.touches}
    assert touched >= set(NODES)
    said = {node for step in islice(draw(3, known), STEPS) for node in step.says}
    assert said == set(NODES)


def test_an_agent_may_be_dead_before_something_else_happens(known: list[Scenario]) -> None:
    some = titles(3, known, 6000)
    assert any(title.startswith("agent_killed + ") for title in some)
    assert any(title.endswith(" + agent_killed") for title in some)


def fault(name: str, **changes: object) -> Fault:
    return Fault(**{"name": name, "title": "T", "inject": _nothing, **changes})  # type: ignore[arg-type]


Combine = Callable[..., Fault]


def together(*parts: Fault, hold: float = 2.0) -> Fault:
    return combine("s", parts, [0] * len(parts), hold)


def test_a_combination_touches_and_takes_what_its_parts_do() -> None:
    a = fault("a", touches=("node1",), takes=frozenset({Belonging.XFRM}), renews=("node3",))
    b = fault("b", touches=("node1-node2",), takes=frozenset({Belonging.CHARON}))
    both = together(a, b)
    assert (both.touches, both.hold_seconds, both.title) == (("node1", "node1-node2"), 2, "a + b")
    assert both.takes == {Belonging.XFRM, Belonging.CHARON}
    assert both.renews == ("node3",)
    assert both.keeps is Keeps.UNTOUCHED
    assert together(a, fault("c", keeps=Keeps.NONE)).keeps is Keeps.NONE


def test_a_combination_says_what_its_parts_say_unless_one_silences_another() -> None:
    files = fault(
        "a", says=codes(["node1"], "trust-unusable"), hold_seconds=6, claims=frozenset({Part.FILES})
    )
    quiet = fault("b", says=codes(["node2"], "guard-altered", "x"), claims=frozenset({Part.SWITCH}))
    assert together(files, quiet, hold=7).says == codes(["node1"], "trust-unusable")
    assert together(files, quiet, hold=3).says == {}, "it is not held for long enough"
    loud = fault("c", claims=frozenset({Part.AGENT}))
    assert together(files, loud, hold=7).says == {}, "who is dead says nothing"
    another = fault("d", says=codes(["node1"], "y"), claims=frozenset({Part.OPERATOR}))
    quietest = fault("e", says=codes(["node1"], "z"), claims=frozenset({Part.XFRM}))
    assert together(another, quietest, hold=7).says == codes(["node1"], "y", "z")


def test_bounds_stay_where_only_one_fault_touches() -> None:
    wire = fault("a", touches=("node1",), most_recovery_seconds=2.0, claims=frozenset({Part.WIRE}))
    assert together(wire, fault("b", claims=frozenset({Part.SWITCH}))).most_recovery_seconds == 2.0
    assert together(wire, fault("b", claims=frozenset({Part.AGENT}))).most_recovery_seconds is None
    other = fault("b", touches=("node2",), claims=frozenset({Part.SWITCH}))
    assert together(wire, other).most_recovery_seconds is None
