"""What is played of what was asked for, and what is said of what was not."""

import asyncio
from pathlib import Path

import pytest

from geneveil.model.errors import ConfigError
from lab.lifecycle import Programs
from lab.scenario import load_scenario, only_faults
from lab.session import play_all

NOWHERE = Path("/nonexistent")
PROGRAMS = Programs(NOWHERE, NOWHERE, NOWHERE, NOWHERE)


def test_only_the_faults_that_were_named_are_left() -> None:
    known = [load_scenario(name) for name in ("ten_years", "agent_restarts", "wire_cut")]
    (one,) = only_faults(known, ["agent_killed"])
    assert one.name == "agent_restarts"
    assert [fault.name for fault in one.faults] == ["agent_killed"]


def test_a_fault_that_nobody_knows_is_refused_by_name() -> None:
    known = [load_scenario("agent_restarts")]
    with pytest.raises(ConfigError, match="agent_kild"):
        only_faults(known, ["agent_killed", "agent_kild"])


def test_what_there_was_no_time_for_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [load_scenario(name) for name in ("ten_years", "agent_restarts")]
    failed = asyncio.run(play_all(chosen, PROGRAMS, "tap", tmp_path, None, minutes=-1))
    assert failed == 1
    told = capsys.readouterr().err
    assert "NOT PLAYED" in told
    assert "ten_years" in told and "agent_restarts" in told
