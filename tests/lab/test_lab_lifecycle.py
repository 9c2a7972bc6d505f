"""A lab starts whole or not at all, and leaves nothing behind, however it ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.claim import is_up, run_folder
from lab.lifecycle import Programs
from tests.lab.leftovers import (
    DEADLINE_SECONDS,
    KINDS,
    MARK_VARIABLE,
    Watched,
    holders,
    marked,
    namespaces,
    wait_for,
)

pytestmark = pytest.mark.lab
LAB = [sys.executable, "-m", "lab"]
PING = ["ip", "netns", "exec", "node1-pod1", "ping", "-c", "3", "-W", "20", "10.128.2.10"]


def start(
    verb: str, name: str, *words: str, data_dir: Path | None = None
) -> "subprocess.Popen[str]":
    """A lab's command; what it starts bears the lab's name as its mark."""
    extra = ["--data-dir", str(data_dir)] if data_dir else []
    return subprocess.Popen(
        [*LAB, verb, "--name", name, *extra, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, MARK_VARIABLE: name},
    )


def lab(
    verb: str, name: str, *words: str, data_dir: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    process = start(verb, name, *words, data_dir=data_dir)
    output, errors = process.communicate(timeout=600)
    assert "Traceback" not in errors, errors
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.fixture
def name(programs: Programs, tmp_path: Path) -> Iterator[str]:
    """A lab name of this test's own; what is left of it is taken down."""
    chosen = f"t-{os.getpid()}"
    yield chosen
    lab("down", chosen)


def test_of_two_at_once_one_is_refused_and_the_other_lives(name: str, tmp_path: Path) -> None:
    """And what the one that lives does: status, exec, down."""
    both = [start("up", name, "--nodes", "2", data_dir=tmp_path) for _ in range(2)]
    ended = {process.communicate(timeout=600)[1]: process.returncode for process in both}
    assert sorted(ended.values()) == [0, 2], ended
    refusal = next(errors for errors, status in ended.items() if status == 2)
    assert f"lab '{name}' is already up" in refusal
    watched = Watched(name)
    watched.look()
    assert {one.split(":")[0] for one in watched.seen} == KINDS
    assert_wires_are_the_labs_own(name)
    status = json.loads(lab("status", name, "-o", "json").stdout)
    assert [guest for guest, state in status[0]["guests"].items() if state["running"]] == [
        "central",
        "node1",
        "node2",
    ]
    for guest in ("central", "node1", "node2"):
        for other in ("central", "node1", "node2"):
            resolved = lab("exec", name, guest, "--", "getent", "hosts", other)
            assert resolved.returncode == 0, f"{guest} cannot resolve {other}"
    assert lab("exec", name, "node1", "--", "sh", "-c", "exit 7").returncode == 7
    again = lab("up", name, "--nodes", "2", data_dir=tmp_path)
    assert again.returncode == 2
    assert "already up" in again.stderr
    assert lab("exec", name, "node1", "--", "true").returncode == 0
    unknown = lab("exec", name, "node9", "--", "true")
    assert unknown.returncode == 2
    assert "its guests are central, node1, node2" in unknown.stderr
    assert lab("status", name).returncode == 0
    kill_witness(name, tmp_path)
    blind = lab("status", name)
    assert blind.returncode == 1
    assert "dead" in blind.stdout
    assert not json.loads(lab("status", name, "-o", "json").stdout)[0]["witness"]
    assert lab("down", name).returncode == 0
    watched.assert_nothing_left()
    assert_its_files_are_shown(name, tmp_path)


def assert_wires_are_the_labs_own(name: str) -> None:
    """They are in a network namespace of the lab's, so that they end with it."""
    pid = (run_folder(name) / "pid").read_text()
    links = subprocess.run(
        ["nsenter", "--target", pid, "--net", "ip", "-br", "link"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    wires = {line.split()[0].split("@")[0] for line in links.splitlines()}
    assert {"underlay", "management", "u1", "u2", "m0", "m1", "m2"} <= wires
    here = {path.name for path in Path("/sys/class/net").iterdir()}
    assert not {"underlay", "management"} & here


def kill_witness(name: str, data_dir: Path) -> None:
    capture = str(data_dir / name / "capture.pcap").encode()
    words = {n: Path(f"/proc/{n}/cmdline").read_bytes().split(b"\0") for n in marked(name)}
    (witness,) = (n for n, line in words.items() if line[0] == b"tcpdump" and capture in line)
    os.kill(witness, signal.SIGKILL)


def assert_its_files_are_shown(name: str, data_dir: Path) -> None:
    """A lab that is down left its capture and its logs, and both can be asked for."""
    capture = lab("capture", name, data_dir=data_dir)
    assert capture.returncode == 0, capture.stderr
    assert Path(capture.stdout.strip()).stat().st_size > 24
    logs = lab("logs", name, "node1", data_dir=data_dir)
    assert logs.returncode == 0, logs.stderr
    assert "console.log" in logs.stdout
    elsewhere = lab("capture", name, data_dir=data_dir / "elsewhere")
    assert elsewhere.returncode == 2
    assert "--data-dir names where" in elsewhere.stderr


def test_two_labs_at_once_do_not_collide(name: str, tmp_path: Path) -> None:
    other = f"{name}-b"
    both = {each: Watched(each) for each in (name, other)}
    try:
        for each in both:
            up = lab("up", each, "--nodes", "2", data_dir=tmp_path)
            assert up.returncode == 0, up.stderr
        for each, watched in both.items():
            watched.look()
            assert lab("exec", each, "node1", "--", *PING).returncode == 0
        assert both[name].seen.isdisjoint(both[other].seen)
    finally:
        lab("down", other)
        lab("down", name)
    for watched in both.values():
        watched.assert_nothing_left()


def test_a_killed_supervisor_leaves_nothing_and_the_next_up_clears(
    name: str, tmp_path: Path
) -> None:
    watched = Watched(name)
    assert lab("up", name, "--nodes", "2", data_dir=tmp_path).returncode == 0
    watched.look()
    os.kill(int((run_folder(name) / "pid").read_text()), signal.SIGKILL)
    watched.assert_nothing_left()
    assert not is_up(name)
    status = lab("status", name)
    assert status.returncode == 1
    assert "killed" in status.stdout
    assert lab("up", name, "--nodes", "2", data_dir=tmp_path).returncode == 0
    watched.look()
    assert lab("down", name).returncode == 0
    watched.assert_nothing_left()


def test_a_namespace_that_is_still_held_is_found() -> None:
    """By a process in it, by an open descriptor: the checks above can fail."""
    process = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    folder = Path(f"/proc/{process.pid}")
    theirs = namespaces(folder) - namespaces(Path("/proc/self"))
    assert [one.split(":")[0] for one in theirs] == ["net"]
    assert any(f"process {process.pid} is in" in one for one in holders(theirs))
    with (folder / "ns" / "net").open():
        process.communicate(b"")
        assert [f"process {os.getpid()} has" in one for one in holders(theirs)] == [True]
    assert holders(theirs) == []


# Moments on the way up, each known by a file that appears at that moment.
MOMENTS = [
    "spec.json",
    "supervisor.log",
    "capture.pcap",
    "node1/disk/boot/kernel",
    "node2/disk/boot/services",
]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("moment", MOMENTS)
def test_ended_on_the_way_up_it_leaves_nothing(
    name: str, tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    process = start("up", name, "--nodes", "2", data_dir=tmp_path)
    watched = Watched(name)
    wait_for(lambda: (tmp_path / name / moment).exists(), moment)
    watched.look()
    process.send_signal(number)
    _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode in (130, 143, -number)
    assert "Traceback" not in errors
    told = "everything that this command had started is gone" in errors
    assert told is (number == signal.SIGINT)
    watched.assert_nothing_left()
    assert not is_up(name)


def test_overlapping_subnets_change_nothing(name: str, tmp_path: Path) -> None:
    done = lab("up", name, "--cluster-network", "192.0.0.0/16", data_dir=tmp_path)
    assert done.returncode == 2
    assert "--underlay 192.0.2.0/24 and --cluster-network 192.0.0.0/16 overlap" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_that_no_lab_made_is_refused(name: str, tmp_path: Path) -> None:
    letters = tmp_path / name / "letters"
    letters.mkdir(parents=True)
    done = lab("up", name, "--nodes", "2", data_dir=tmp_path)
    assert done.returncode == 2
    assert "not a lab's folder, and not empty; nothing in it was changed" in done.stderr
    assert letters.is_dir()
    (tmp_path / "file").write_text("")
    below = lab("up", name, "--nodes", "2", data_dir=tmp_path / "file" / "labs")
    assert below.returncode == 2
    assert "Not a directory" in below.stderr
