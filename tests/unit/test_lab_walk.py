"""The random walk: what is drawn, and how faults become one."""

from itertools import islice

from lab.fault import Belonging, Fault
from lab.scenario import load_scenario
from lab.stage import Stage
from lab.walk import SITUATIONS, combine, draw


async def _nothing(stage: Stage) -> None: ...


def titles(seed: int) -> list[str]:
    found = [load_scenario(name) for name in SITUATIONS]
    return [fault.title for fault in islice(draw(seed, found), 20)]


def test_a_walk_depends_on_its_seed_alone() -> None:
    assert titles(7) == titles(7)
    assert titles(7) != titles(8)
    assert len(set(titles(7))) > 10


def test_faults_of_one_situation_are_not_combined() -> None:
    situation_of = {f.name: name for name in SITUATIONS for f in load_scenario(name).faults}
    for title in titles(3):
        situations = [situation_of[name] for name in title.split(" + ")]
        assert len(situations) == len(set(situations)) >= 2


def test_a_combination_touches_and_takes_what_its_parts_do() -> None:
    a = Fault("a", "A", _nothing, touches=("node1",), takes=frozenset({Belonging.XFRM}))
    b = Fault("b", "B", _nothing, touches=("node1-node2",), takes=frozenset({Belonging.CHARON}))
    both = combine("s", [a, b], [0, 0], 2)
    assert (both.touches, both.hold_seconds, both.title) == (("node1", "node1-node2"), 2, "a + b")
    assert both.takes == {Belonging.XFRM, Belonging.CHARON}
