"""A mistake of ours in a turn: one line, a health value, and another try; nothing is undone."""

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from geneveil.agent import loop
from geneveil.agent.config import AgentConfig
from geneveil.agent.decide import AgentMemory
from geneveil.agent.guard_keeper.io import GuardKeeper
from geneveil.agent.ratchet import ModeVerdict
from geneveil.agent.rotation.watch import WatchRecord
from geneveil.agent.store import NodeStore
from geneveil.agent.unexpected import (
    CAP_SECONDS,
    CODE,
    FORGET_AFTER,
    failed_health,
    failed_status,
    retry_seconds,
)
from geneveil.mesh.actions import ApplyGuard
from geneveil.model.cluster import Mode
from geneveil.model.guard import GuardSpec
from geneveil.model.health import Finding, HealthValue, Severity
from geneveil.model.node_status import STALE_AFTER_SECONDS, PeerState, parse_status
from tests.unit.test_agent_disturbed import Table
from tests.unit.test_agent_kube import node_status

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = datetime(2026, 3, 1, 0, 0, 10, tzinfo=UTC)
SPEC = GuardSpec((6081, 7000))


class Ended(BaseException):
    """Ends a loop that never ends."""


def failure(text: str = "two\nlines") -> RuntimeError:
    try:
        raise RuntimeError(text)
    except RuntimeError as error:
        return error


def test_it_is_one_line_that_says_where_and_what_was_wrong_before_stays() -> None:
    old = HealthValue(Finding("charon-away", Severity.ERROR, "charon", "it is away"), NOW)
    first = failed_health((old,), failure(), NOW)
    assert {value.finding.code for value in first} == {CODE, "charon-away"}
    (value,) = (value for value in first if value.finding.code == CODE)
    assert "an unexpected RuntimeError: two lines (test_agent_unexpected.py:" in value.finding.what
    assert "\n" not in value.finding.what
    assert value.finding.remedy
    again = failed_health(first, failure("x" * 5000), LATER)
    assert {value.since for value in again} == {NOW}
    assert len(again) == 2
    assert max(len(value.finding.what) for value in again) < 400


def test_nothing_is_called_well_that_nobody_looked_at() -> None:
    status = node_status(PeerState.UP, PeerState.UNKNOWN)
    health = failed_health((), failure(), LATER)
    failed = failed_status(status, health, LATER)
    assert [peer.state for peer in failed.peers] == [PeerState.UNKNOWN] * 2
    assert [peer.since for peer in failed.peers] == [LATER, status.peers[1].since]
    assert (failed.guard, failed.charon, failed.written_at) == (None, "", LATER)
    assert not failed.is_well


def test_it_waits_longer_and_longer_and_never_so_long_that_the_status_is_old() -> None:
    waits = [retry_seconds(failures) for failures in range(1, 50)]
    assert waits[0] < waits[2] < waits[-1] == CAP_SECONDS < STALE_AFTER_SECONDS


def make_agent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> loop.Agent:
    for name in ("OvsdbWatch", "ViciEvents", "TableEvents", "IpsecEvents"):
        monkeypatch.setattr(loop, name, lambda *_arguments: Started())
    config = AgentConfig(mode=Mode.FULL, state_dir=folder / "state", run_dir=folder)
    guard = GuardKeeper(Table(), lambda: NOW, lambda: None)
    guard.cover(SPEC)
    verdict = ModeVerdict(Mode.FULL, must_seal=False, findings=())
    return loop.Agent(config, NodeStore(config.state_dir), verdict, guard, threading.Event())


class Started:
    """Something that is started and never says anything."""

    def start(self) -> None:
        pass


def test_the_loop_goes_on_and_says_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "geneveil.agent")
    agent = make_agent(tmp_path, monkeypatch)
    waits: list[float] = []
    turns = itertools.count(1)

    def turn() -> float:
        if next(turns) == 5:
            raise Ended
        raise RuntimeError("a mistake")

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        status = parse_status(json.loads((tmp_path / "status.json").read_bytes()))
        assert {value.finding.code for value in status.health} == {CODE}

    run(agent, turn, sleep, monkeypatch)
    assert waits == [retry_seconds(1), retry_seconds(2), retry_seconds(3), retry_seconds(4)]
    (line,) = caplog.records  # not one for each try
    assert line.levelno == logging.ERROR
    assert line.exc_info is None
    assert vars(line)["fields"]["remedy"]


def run(
    agent: loop.Agent,
    turn: Callable[[], float],
    sleep: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agent, "_turn", turn)
    monkeypatch.setattr(agent, "_wait", lambda _seconds: None)
    # Of the loop alone: other threads may be about, and wait.
    monkeypatch.setattr(loop, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    with pytest.raises(Ended):
        agent.run()


def test_after_some_failures_it_starts_anew_and_keeps_guard_and_revocations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent(tmp_path, monkeypatch)
    said = WatchRecord(3, frozenset({"node2"}))
    agent._memory = replace(agent._memory, was_all_up=True, record=said)
    remembered: list[bool] = []

    def turn() -> float:
        remembered.append(agent._memory.was_all_up)
        if len(remembered) > FORGET_AFTER:
            raise Ended
        raise RuntimeError("what it remembers")

    run(agent, turn, lambda _seconds: None, monkeypatch)
    assert remembered == [True] * FORGET_AFTER + [False]
    # Who was revoked as well: the file that says so may be what cannot be read.
    assert agent._memory == AgentMemory(guard=SPEC, health=agent._memory.health, record=said)


def test_a_guard_that_is_fought_over_is_a_line_in_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "geneveil.agent")
    agent = make_agent(tmp_path, monkeypatch)
    now = [100.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for tenth in range(250):
        now[0] = 100.0 + tenth / 10
        agent._say_done(ApplyGuard(SPEC))
    agent._say_done(ApplyGuard(GuardSpec((6081,))))  # another one is no fight
    told = [vars(record)["fields"] for record in caplog.records]
    again = {"ports": "6081,7000", "times": 100}
    assert told == [{"ports": "6081,7000"}, again, again, {"ports": "6081"}]
