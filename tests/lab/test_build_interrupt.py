"""A build that is interrupted or killed leaves nothing half-made and nothing running."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.build.cache import Cache, Recipe
from lab.build.meter import Step
from lab.build.progress import Silent
from lab.build.workbench import Stop

TOP = Path(__file__).parents[2]
Popen = subprocess.Popen[str]
SLOW_BUILD = Path(__file__).parent / "slow_build.py"


@pytest.fixture
def mark() -> str:
    """Digits that no other process on this machine has in its command line."""
    return str(10**12 + secrets.randbelow(9 * 10**12))


@pytest.fixture
def builder(tmp_path: Path, mark: str) -> Iterator[Popen]:
    """A process whose build is half done, with programs that run until they are ended."""
    process = subprocess.Popen(
        [sys.executable, str(SLOW_BUILD), str(tmp_path), mark],
        env={**os.environ, "PYTHONPATH": f"{TOP}:{TOP / 'src'}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        _until(lambda: len(_waiting(mark)) == 2, "the build's programs do not run")
        yield process
    finally:
        process.kill()
        process.wait(120)


def _waiting(mark: str) -> list[str]:
    """Command lines of the build's children that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[0] == b"sleep" and words[1].endswith(mark.encode()):
            found.append(str(path))
    return found


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_ctrl_c_removes_all_that_was_half_made(tmp_path: Path, mark: str, builder: Popen) -> None:
    builder.send_signal(signal.SIGINT)
    assert builder.wait(120) == 130
    _until(lambda: _waiting(mark) == [], "the build's programs outlive their builder")
    assert list((tmp_path / "slow").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_builder_takes_its_programs_along(
    builder: Popen, mark: str, number: signal.Signals
) -> None:
    builder.send_signal(number)
    builder.wait(120)
    _until(lambda: _waiting(mark) == [], "the build's programs outlive their killed builder")


def test_what_a_killed_builder_left_is_removed_by_the_next_build(
    tmp_path: Path, builder: Popen
) -> None:
    builder.kill()
    builder.wait(120)
    left = list((tmp_path / "slow").iterdir())
    assert [path.name.startswith(".building-") for path in left] == [True]
    assert (left[0] / "artifact/half").read_text() == "made"
    _build_another(tmp_path)
    assert not left[0].exists()


def test_what_a_living_builder_makes_is_not_touched(tmp_path: Path, builder: Popen) -> None:
    assert builder.poll() is None
    _build_another(tmp_path)
    assert list((tmp_path / "slow").glob(".building-*/artifact/half"))


def _build_another(root: Path) -> None:
    def make(bench: object) -> dict[str, str]:
        return {}

    another = Recipe("slow", "another thing", {}, "record.json", 1, (Step("make", 1),), make)
    assert Cache(root).obtain(another, Silent(), Stop()).is_file()
