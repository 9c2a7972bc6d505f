"""The short faults on one cluster; `make soak` plays them all. See lab/scenarios/."""

import asyncio
import os
from collections.abc import Iterator

import pytest

from lab.control_plane import STANDALONE
from lab.fault import UDP_A_SECOND, Fault
from lab.fault_play import FaultPlayer
from lab.last_word import check_last_word
from lab.scenario import load_scenario, playable_names
from lab.stage import Stage
from lab.walk import situations, walk
from tests.lab.conftest import OpenLab

pytestmark = [pytest.mark.lab, pytest.mark.traffic]

WALK_STEPS = 4
WALK_SEED = int(os.environ.get("GENEVEIL_WALK_SEED", "7"))
SLACK = 4.0
"""Whether traffic comes back is judged here; how fast it does, in `make soak`."""

SITUATIONS = [load_scenario(name) for name in playable_names(STANDALONE)[0]]
SHARED = {situation.name for situation in situations()}
FAULTS = [fault for situation in SITUATIONS for fault in situation.faults]
SHORT = [
    fault
    for situation in SITUATIONS
    if situation.name in SHARED
    for fault in situation.faults
    if fault.is_short
]


@pytest.fixture(scope="module")
def player(open_lab: OpenLab, runner: asyncio.Runner) -> Iterator[FaultPlayer]:
    with open_lab("t-faults", nodes=3, ipsec=True) as running:
        stage = Stage(running)
        runner.run(stage.start_traffic(UDP_A_SECOND))
        yield FaultPlayer(stage, say=print, slack=SLACK)
    check_last_word(stage)


def test_faults_have_names_of_their_own() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))
    assert SHORT


@pytest.mark.parametrize("fault", SHORT, ids=lambda fault: fault.name)
def test_fault(fault: Fault, player: FaultPlayer, runner: asyncio.Runner) -> None:
    outcome = runner.run(player.play(fault))
    assert not outcome.broken
    assert all(loss.sent_packets > 100 for loss in outcome.losses)


def test_a_short_random_walk(player: FaultPlayer, runner: asyncio.Runner) -> None:
    """Of all that takes no minutes; always the same, so that a failure is the last change's."""
    print(f"seed {WALK_SEED}: python -m lab walk --seed {WALK_SEED} --steps {WALK_STEPS} --brief")
    done = runner.run(walk(player, WALK_SEED, WALK_STEPS, lambda: True, with_long=False))
    assert done == WALK_STEPS


def test_the_witness_would_have_seen_a_frame_in_clear(
    player: FaultPlayer, runner: asyncio.Runner
) -> None:
    """The last test of this lab: the control of all the others. Once the lab is down, the fixture
    asks what the witness saw until then."""
    player.stage.touched.update(node.name for node in player.stage.nodes)
    assert not runner.run(player.stage.finish()).broken_rules
