"""One agent a node, whatever other users of it do; and everybody may ask whether it runs."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from geneveil.agent.alive.io import runs, start_ticks
from geneveil.agent.config import AgentConfig
from geneveil.agent.io import take_lock, write_status
from geneveil.agent.status import build_disabled_status
from geneveil.cli.node_view import agent_lives
from geneveil.model.errors import ConfigError
from geneveil.model.node_status import LOCK_FILE

NOBODY = 65534
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """One that every user can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "run"


@pytest.fixture
def lock(run_dir: Path) -> Iterator[int]:
    descriptor = take_lock(run_dir)
    yield descriptor
    os.close(descriptor)


def as_nobody(question: Callable[[], bool]) -> bool:
    """Ask in a process without any privilege."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    child = os.fork()
    if child == 0:
        answer = 2
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            answer = int(question())
        finally:
            os._exit(answer)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 1), "it could not be asked"
    return status == 1


def write(run_dir: Path, pid: int, ticks: int) -> None:
    write_status(run_dir, build_disabled_status(AgentConfig(), NOW, pid, ticks))


def can_open(path: Path) -> bool:
    try:
        path.open("rb").close()
    except PermissionError:
        return False
    return True


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as process:
        process.wait()
    return process.pid


def test_nobody_else_can_hold_the_lock(run_dir: Path, lock: int) -> None:
    assert (run_dir / LOCK_FILE).stat().st_mode & 0o777 == 0o600
    assert not as_nobody(lambda: can_open(run_dir / LOCK_FILE))


def test_a_lock_that_all_could_read_is_mended(run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / LOCK_FILE).touch()
    (run_dir / LOCK_FILE).chmod(0o644)
    os.close(take_lock(run_dir))
    assert (run_dir / LOCK_FILE).stat().st_mode & 0o777 == 0o600


def test_a_run_directory_that_others_can_write_is_closed_to_them(run_dir: Path) -> None:
    run_dir.mkdir()
    run_dir.chmod(0o777)
    os.close(take_lock(run_dir))
    assert run_dir.stat().st_mode & 0o777 == 0o755


def test_a_run_directory_of_everybody_is_refused_and_left_alone(run_dir: Path) -> None:
    run_dir.mkdir()
    run_dir.chmod(0o1777)
    with pytest.raises(ConfigError, match="for everybody"):
        take_lock(run_dir)
    assert run_dir.stat().st_mode & 0o7777 == 0o1777
    assert list(run_dir.iterdir()) == []


def test_a_run_directory_of_another_user_is_refused(run_dir: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a directory away")
    run_dir.mkdir()
    os.chown(run_dir, NOBODY, NOBODY)
    with pytest.raises(ConfigError, match=f"belongs to user {NOBODY}"):
        take_lock(run_dir)


def test_a_lock_that_is_a_link_is_not_followed(run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / LOCK_FILE).symlink_to(run_dir / "elsewhere")
    with pytest.raises(ConfigError, match="cannot use the run directory"):
        take_lock(run_dir)
    assert not (run_dir / "elsewhere").exists()


def test_everybody_may_ask_whether_the_agent_runs(run_dir: Path, lock: int) -> None:
    own = os.getpid()
    write(run_dir, own, start_ticks(own))
    assert agent_lives(run_dir)
    assert as_nobody(lambda: agent_lives(run_dir))
    write(run_dir, own, start_ticks(own) + 1)  # another process got that number since
    assert not as_nobody(lambda: agent_lives(run_dir))
    write(run_dir, ended_process(), 0)
    assert not as_nobody(lambda: agent_lives(run_dir))


def test_a_process_is_known_by_its_number_and_its_start() -> None:
    own, ticks = os.getpid(), start_ticks(os.getpid())
    assert ticks > 0
    table = [
        (own, ticks, True),
        (own, ticks + 1, False),
        (own, 0, True),  # of an agent that did not say
        (0, 0, False),
        (-1, 0, False),
        (ended_process(), 0, False),
    ]
    for pid, started, expected in table:
        assert runs(pid, started) is expected, (pid, started)
