"""Situations on real clusters, with steady traffic; see lab/scenarios/.

The short ones run here; `make soak` plays them all.
"""

import asyncio

import pytest

from geneveil.model.errors import ConfigError
from lab.control_plane import KUBERNETES, STANDALONE
from lab.lifecycle import Programs
from lab.scenario import load_scenario, play_scenario, playable_names, scenario_names
from tests.lab.conftest import DATA_DIR

pytestmark = [pytest.mark.lab, pytest.mark.traffic]

SHORT = ["node_revoked", "ca_rolled_over"]
"""On Kubernetes `node_certificates_renewed` runs too; here nodes renew in `ca_rolled_over`."""


@pytest.mark.parametrize("control_plane", [STANDALONE, KUBERNETES])
def test_every_scenario_says_what_it_is_or_why_it_is_not_played(control_plane: str) -> None:
    playable, left_out = playable_names(control_plane)
    assert {"node_revoked", "ca_rolled_over", "node_certificates_renewed"} <= set(playable)
    assert sorted([*playable, *left_out]) == scenario_names()
    for name in playable:
        scenario = load_scenario(name, control_plane)
        assert scenario.title
        assert 2 <= scenario.nodes <= 8
    for name, why in left_out.items():
        with pytest.raises(ConfigError, match="is not played") as raised:
            load_scenario(name, control_plane)
        assert raised.value.why == why


@pytest.mark.parametrize("name", SHORT)
def test_scenario(name: str, programs: Programs, transport: str, runner: asyncio.Runner) -> None:
    outcome = runner.run(play_scenario(load_scenario(name), programs, transport, DATA_DIR))
    assert not outcome.broken_rules
    assert sum(loss.sent_packets for loss in outcome.losses) > 1000
