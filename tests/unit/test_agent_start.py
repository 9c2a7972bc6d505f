"""How the agent starts where nothing can be written: the guard first, and no traceback."""

import errno
import os
import time
from pathlib import Path

import pytest

from geneveil.agent import __main__ as program
from geneveil.agent import io as agent_io
from geneveil.agent import loop
from geneveil.agent.config import AgentConfig
from geneveil.model.cluster import Mode
from geneveil.model.errors import ConfigError
from geneveil.model.guard import GuardSpec


class Ended(BaseException):
    """Ends a loop that never ends."""


class OnlyCover:
    """Remembers what the guard was asked to cover."""

    asked: list[GuardSpec]

    def __init__(self) -> None:
        OnlyCover.asked = []

    def cover(self, spec: GuardSpec) -> tuple[GuardSpec, bool]:
        OnlyCover.asked.append(spec)
        return spec, True


def no_space(*_arguments: object, **_named: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def config_in(directory: Path, mode: Mode) -> AgentConfig:
    return AgentConfig(mode=mode, state_dir=directory / "state", run_dir=directory / "run")


def test_a_process_id_that_cannot_be_written_is_not_fatal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "pwrite", no_space)
    descriptor = agent_io.take_lock(tmp_path / "run")
    assert "the process id cannot be written" in caplog.text
    with pytest.raises(ConfigError, match=r"another agent \(process \?\)"):
        agent_io.take_lock(tmp_path / "run")
    os.close(descriptor)


def test_the_guard_is_set_before_the_run_directory_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "NftGuard", OnlyCover)
    monkeypatch.setattr(loop, "_catch_signals", lambda: None)
    (tmp_path / "run").write_text("in the way of a directory")
    with pytest.raises(ConfigError, match="run directory"):
        loop.run_agent(config_in(tmp_path, Mode.FULL))
    assert OnlyCover.asked == [GuardSpec((6081,))]


def test_with_ipsec_off_a_full_run_directory_is_said_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    turns: list[float] = []

    def sleep(seconds: float) -> None:
        turns.append(seconds)
        if len(turns) == 2:
            raise Ended

    monkeypatch.setattr(loop, "write_status", no_space)
    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(loop, "_catch_signals", lambda: None)
    with pytest.raises(Ended):
        loop.run_agent(config_in(tmp_path, Mode.DISABLED))
    assert caplog.text.count("the status cannot be written") == 2


def test_a_mistake_of_ours_is_one_line_and_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down(_config: AgentConfig) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(program, "read_agent_config", lambda _path: AgentConfig())
    monkeypatch.setattr(program, "run_agent", break_down)
    assert program.main([str(tmp_path / "agent.yaml")]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("geneveil: the agent ended because of an unexpected RuntimeError: two")
    assert "test_agent_start.py:" in line
