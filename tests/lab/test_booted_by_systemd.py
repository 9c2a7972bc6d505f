"""Nodes that systemd boots, with geneveil's own units: see lab/scenarios/booted_by_systemd.

The longest of the files that run beside others: by its name it is among the first.
"""

import asyncio

import pytest

from lab.lifecycle import Programs
from lab.scenario import load_scenario, play_scenario
from tests.lab.conftest import DATA_DIR

pytestmark = pytest.mark.lab


def test_nodes_that_systemd_boots(
    programs: Programs, transport: str, runner: asyncio.Runner
) -> None:
    scenario = load_scenario("booted_by_systemd")
    outcome = runner.run(play_scenario(scenario, programs, transport, DATA_DIR))
    assert not outcome.broken_rules
    assert sum(loss.sent_packets for loss in outcome.losses) > 1000
