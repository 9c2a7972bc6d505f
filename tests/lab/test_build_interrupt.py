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
from tests.lab.slow_build import KINDS

TOP = Path(__file__).parents[2]
Popen = subprocess.Popen[str]
SLOW_BUILD = Path(__file__).parent / "slow_build.py"


@pytest.fixture
def mark() -> str:
    """Digits that no other process on this machine has in its command line."""
    return str(10**12 + secrets.randbelow(9 * 10**12))


@pytest.fixture
def builder(tmp_path: Path, mark: str) -> Iterator[Popen]:
    """A process whose builds are half done, with programs that run until they are ended."""
    process = subprocess.Popen(
        [sys.executable, str(SLOW_BUILD), str(tmp_path), mark],
        env={**os.environ, "PYTHONPATH": f"{TOP}:{TOP / 'src'}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in KINDS] == ["ready\n"] * len(KINDS)
        _until(lambda: len(_waiting(mark)) == 2 * len(KINDS), "the build's programs do not run")
        yield process
    finally:
        process.kill()
        process.wait(120)


def _waiting(mark: str) -> list[int]:
    """The builds' children that still run."""
    return _processes(b"sleep", mark)


def _processes(program: bytes, mark: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().rstrip(b"\0").split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words[0] == program and words[-1].endswith(mark.encode()):
            found.append(int(path.parent.name))
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
    assert [list((tmp_path / kind).iterdir()) for kind in KINDS] == [[], []]


def test_a_build_that_fails_ends_the_other(tmp_path: Path, mark: str, builder: Popen) -> None:
    """One of the two programs is killed: its build fails, and the other does not run on."""
    os.kill(_processes(b"bash", mark)[0], signal.SIGKILL)
    assert builder.wait(120) == 1
    _until(lambda: _waiting(mark) == [], "a build's programs outlive the failure of another")
    assert [list((tmp_path / kind).iterdir()) for kind in KINDS] == [[], []]


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
    for kind in KINDS:
        left = list((tmp_path / kind).iterdir())
        assert [path.name.startswith(".building-") for path in left] == [True]
        assert (left[0] / "artifact/half").read_text() == "made"
        _build_another(tmp_path, kind)
        assert not left[0].exists()


def test_what_a_living_builder_makes_is_not_touched(tmp_path: Path, builder: Popen) -> None:
    assert builder.poll() is None
    for kind in KINDS:
        _build_another(tmp_path, kind)
        assert list((tmp_path / kind).glob(".building-*/artifact/half"))


def _build_another(root: Path, kind: str) -> None:
    def make(bench: object) -> dict[str, str]:
        return {}

    another = Recipe(kind, "another thing", {}, "record.json", 1, (Step("make", 1),), make)
    assert Cache(root).obtain(another, Silent(), Stop()).is_file()
