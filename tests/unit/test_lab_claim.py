"""A lab clears only what a lab made, and of two of one name the second disturbs nothing."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from geneveil.model.errors import ConfigError, GeneveilError
from lab.claim import (
    LOCK_FILE,
    MARK_FILE,
    SPEC_FILE,
    claim_folder,
    clear_run_folder,
    is_up,
    labs,
    run_folder,
    take_lock,
    take_name,
)
from lab.demo import DemoConfig, hold_folder, run_demo
from lab.lifecycle import CAPTURE_FILE, LabConfig, Layout, Programs, Supervised, lay_out
from lab.session import capture_file, log_files
from lab.shared_folder import plan_cluster

NOTHING = Path("/nonexistent")
PROGRAMS = Programs(NOTHING, NOTHING, NOTHING, NOTHING)


@pytest.fixture
def name() -> Iterator[str]:
    """A lab's name of this test's own, whose run folder goes with the test."""
    chosen = f"u-{os.getpid()}"
    yield chosen
    clear_run_folder(chosen)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def laid_out(name: str, data_dir: Path) -> Layout:
    config = LabConfig(name, 2, data_dir=data_dir)
    return lay_out(config, PROGRAMS, plan_cluster(False, "Auto"), "tap")


def test_a_folder_that_no_lab_made_is_refused_and_not_changed(name: str, tmp_path: Path) -> None:
    home = tmp_path / name
    (home / "letters").mkdir(parents=True)
    (home / "letters" / "draft").write_text("dear")
    (home / SPEC_FILE).write_text('{"somebody": "elses"}')
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match="not a lab's folder, and not empty"):
        laid_out(name, tmp_path)
    assert tree(tmp_path) == before
    assert not is_up(name)
    assert not run_folder(name).exists()


def test_a_link_to_a_folder_that_no_lab_made_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    (tmp_path / name).symlink_to(tmp_path / "home")
    with pytest.raises(ConfigError, match="not a lab's folder"):
        laid_out(name, tmp_path)
    assert (tmp_path / "home" / "letter").read_text() == "dear"


def test_what_an_earlier_lab_left_is_cleared(name: str, tmp_path: Path) -> None:
    os.close(laid_out(name, tmp_path).lock)
    left = tmp_path / name / "node1" / "disk" / "old"
    left.write_text("old")
    os.close(laid_out(name, tmp_path).lock)
    assert not left.exists()
    assert (tmp_path / name / SPEC_FILE).is_file()


def test_the_mark_is_there_from_the_first_moment_to_the_last(tmp_path: Path) -> None:
    """A lab that was killed while it cleared its folder leaves one that can be cleared."""
    folder = tmp_path / "lab"
    claim_folder(folder)
    assert [path.name for path in folder.iterdir()] == [MARK_FILE]
    (folder / "half").write_text("cleared")
    claim_folder(folder)
    assert [path.name for path in folder.iterdir()] == [MARK_FILE]


def test_a_folder_of_a_lab_from_before_there_were_marks_is_known(name: str, tmp_path: Path) -> None:
    os.close(laid_out(name, tmp_path).lock)
    (tmp_path / name / MARK_FILE).unlink()
    os.close(laid_out(name, tmp_path).lock)
    (tmp_path / name / MARK_FILE).unlink()
    (tmp_path / name).rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):  # its description is of another folder
        claim_folder(tmp_path / "elsewhere")


@pytest.mark.parametrize("below", ["file", "file/deeper"])
def test_a_data_folder_below_a_file_is_refused_in_words(
    name: str, tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Not a directory"):
        laid_out(name, tmp_path / below)
    assert not is_up(name)


def test_the_second_of_two_is_refused_and_the_first_lives(name: str, tmp_path: Path) -> None:
    first = laid_out(name, tmp_path)
    before = tree(tmp_path), tree(run_folder(name))
    with pytest.raises(ConfigError, match="already up"):
        laid_out(name, tmp_path)
    with pytest.raises(ConfigError, match="already up"):
        laid_out(name, tmp_path / "elsewhere")
    assert (tree(tmp_path), tree(run_folder(name))) == before
    assert is_up(name)
    asyncio.run(Supervised(first).stop())
    assert not is_up(name)
    assert not run_folder(name).exists()


def test_who_has_lost_the_name_stops_nobody_who_has_it_now(name: str, tmp_path: Path) -> None:
    """A lab whose supervisor died is stopped while another of that name is up."""
    loser = Supervised(laid_out(name, tmp_path))
    os.close(loser.layout.lock)
    loser._lock = None  # as once its supervisor has it, and has died
    winner = laid_out(name, tmp_path / "other")
    asked: list[bytes] = []

    async def stop_beside_it() -> None:
        server = await asyncio.start_unix_server(
            lambda reader, writer: asked.append(b"asked"), str(run_folder(name) / "control")
        )
        await loser.stop()
        server.close()

    asyncio.run(stop_beside_it())
    assert asked == []
    assert is_up(name)
    assert (run_folder(name) / "control").exists()
    os.close(winner.lock)


def test_of_many_at_once_exactly_one_has_the_name(name: str) -> None:
    """Also while others ask whether it is up, and while the folder of the last one is removed."""
    for _ in range(20):
        start = threading.Barrier(4)
        taken: list[int] = []

        def race(start: threading.Barrier = start, taken: list[int] = taken) -> None:
            start.wait()
            is_up(name)
            try:
                taken.append(take_name(name))
            except ConfigError:
                return

        threads = [threading.Thread(target=race) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == 1
        os.close(taken[0])
        assert clear_run_folder(name)


def test_a_lock_on_a_file_that_was_removed_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder" / LOCK_FILE
    stale = take_lock(path)
    assert stale is not None
    path.unlink()
    fresh = take_lock(path)
    assert fresh is not None
    assert take_lock(path) is None
    os.close(stale)
    assert take_lock(path) is None
    os.close(fresh)


def test_a_child_that_inherits_the_lock_holds_it(tmp_path: Path) -> None:
    path = tmp_path / LOCK_FILE
    handle = take_lock(path)
    assert handle is not None
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(handle,)
    )
    os.close(handle)
    assert take_lock(path) is None
    child.communicate(b"\n")
    again = take_lock(path)
    assert again is not None
    os.close(again)


def demo_of(out: Path, name: str) -> DemoConfig:
    return DemoConfig(LabConfig(name, 2, data_dir=out.parent / "labs"), PROGRAMS, "tap", out)


def test_a_second_demo_into_one_folder_is_refused_and_takes_nothing(
    name: str, tmp_path: Path
) -> None:
    out = tmp_path / "demo"
    with hold_folder(out):
        (out / "report.json").write_text("the first one's")
        with pytest.raises(ConfigError, match="another demo is writing"):
            asyncio.run(run_demo(demo_of(out, name), lambda text: None))
        assert (out / "report.json").read_text() == "the first one's"
    with hold_folder(out):
        pass


def test_a_second_demo_of_one_name_is_refused_and_takes_nothing(name: str, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    out.mkdir()
    (out / "report.json").write_text("an earlier one's")
    handle = take_name(f"{name}-enabled")
    try:
        with pytest.raises(ConfigError, match=f"'{name}-enabled' is already up"):
            asyncio.run(run_demo(demo_of(out, name), lambda text: None))
    finally:
        os.close(handle)
        clear_run_folder(f"{name}-enabled")
    assert (out / "report.json").read_text() == "an earlier one's"


def test_a_demo_into_a_folder_below_a_file_is_refused_in_words(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="Not a directory"):
        asyncio.run(run_demo(demo_of(tmp_path / "file" / "out", name), lambda text: None))


def test_of_a_lab_that_is_down_capture_and_logs_are_shown(name: str, tmp_path: Path) -> None:
    asyncio.run(Supervised(laid_out(name, tmp_path)).stop())
    (tmp_path / name / CAPTURE_FILE).write_bytes(b"frames")
    log = tmp_path / name / "node1" / "disk" / "log" / "agent.log"
    log.parent.mkdir(parents=True)
    log.write_text("words")
    assert name not in labs()
    assert capture_file(name, tmp_path) == tmp_path / name / CAPTURE_FILE
    assert log_files(name, "node1", tmp_path) == [log]
    with pytest.raises(ConfigError, match="its guests are central, node1, node2"):
        log_files(name, "node9", tmp_path)
    with pytest.raises(ConfigError, match="no lab has left anything"):
        capture_file(name, tmp_path / "elsewhere")


def test_a_lab_that_left_no_capture_is_said_to_have_none(name: str, tmp_path: Path) -> None:
    asyncio.run(Supervised(laid_out(name, tmp_path)).stop())
    with pytest.raises(GeneveilError, match="has no capture"):
        capture_file(name, tmp_path)
