"""A pair gets new IKE_SAs under traffic, each kind of round once; see lab/scenarios/."""

import asyncio

import pytest

from lab.scenarios.reauthentications.scenario import TICK_SECONDS, UDP_A_SECOND, play_rounds
from lab.stage import Stage
from tests.lab.conftest import OpenLab

pytestmark = [pytest.mark.lab, pytest.mark.traffic]

KINDS = 2


def test_no_packet_meets_an_sa_that_is_not_there(open_lab: OpenLab, runner: asyncio.Runner) -> None:
    async def play(stage: Stage) -> None:
        await stage.start_traffic(UDP_A_SECOND, TICK_SECONDS)
        await play_rounds(stage, KINDS)
        outcome = await stage.finish()
        assert not outcome.broken_rules
        assert all(loss.sent_packets > 1000 for loss in outcome.losses)

    with open_lab("t-reauthentication", nodes=2, ipsec=True) as running:
        runner.run(play(Stage(running)))
