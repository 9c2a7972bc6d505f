"""A lab starts whole or not at all, and leaves nothing behind, however it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.claim import is_up, run_folder
from lab.lifecycle import Programs

pytestmark = pytest.mark.lab
LAB = [sys.executable, "-m", "lab"]
_DEADLINE_SECONDS = 240.0


def lab(*arguments: str, data_dir: Path | None = None) -> subprocess.CompletedProcess[str]:
    extra = ["--data-dir", str(data_dir)] if data_dir else []
    return subprocess.run([*LAB, *arguments, *extra], capture_output=True, text=True, timeout=600)


def processes_of(data_dir: Path) -> list[str]:
    """Every process of this machine whose command line names the lab's own folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (
                    (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
            except OSError:
                continue
            if str(data_dir) in words and int(entry.name) != os.getpid():
                found.append(words)
    return found


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def assert_nothing_left(data_dir: Path) -> None:
    wait_for(lambda: not processes_of(data_dir), "the lab's processes to end")
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(data_dir) not in mounts
    links = {path.name for path in Path("/sys/class/net").iterdir()}
    assert not links & {"underlay", "management", "u1", "u2", "m0", "m1", "m2"}


@pytest.fixture
def name(programs: Programs, tmp_path: Path) -> Iterator[str]:
    """A lab name of this test's own; what is left of it is taken down."""
    chosen = f"t-{os.getpid()}"
    yield chosen
    lab("down", "--name", chosen)


def test_up_status_exec_down(name: str, tmp_path: Path) -> None:
    up = lab("up", "--name", name, "--nodes", "2", data_dir=tmp_path)
    assert up.returncode == 0, up.stderr
    status = json.loads(lab("status", "--name", name, "-o", "json").stdout)
    assert [guest for guest, state in status[0]["guests"].items() if state["running"]] == [
        "central",
        "node1",
        "node2",
    ]
    for guest in ("central", "node1", "node2"):
        for other in ("central", "node1", "node2"):
            resolved = lab("exec", guest, "--name", name, "--", "getent", "hosts", other)
            assert resolved.returncode == 0, f"{guest} cannot resolve {other}"
    assert lab("exec", "node1", "--name", name, "--", "sh", "-c", "exit 7").returncode == 7
    again = lab("up", "--name", name, "--nodes", "2", data_dir=tmp_path)
    assert again.returncode == 2
    assert "already up" in again.stderr
    assert lab("exec", "node1", "--name", name, "--", "true").returncode == 0
    unknown = lab("exec", "node9", "--name", name, "--", "true")
    assert unknown.returncode == 2
    assert "its guests are central, node1, node2" in unknown.stderr
    assert lab("down", "--name", name).returncode == 0
    assert_nothing_left(tmp_path)
    assert (tmp_path / name / "capture.pcap").stat().st_size > 24


def test_two_labs_at_once_do_not_collide(name: str, tmp_path: Path) -> None:
    other = f"{name}-b"
    try:
        for each in (name, other):
            up = lab("up", "--name", each, "--nodes", "2", data_dir=tmp_path)
            assert up.returncode == 0, up.stderr
        for each in (name, other):
            ping = [
                "ip",
                "netns",
                "exec",
                "node1-pod1",
                "ping",
                "-c",
                "3",
                "-W",
                "20",
                "10.128.2.10",
            ]
            assert lab("exec", "node1", "--name", each, "--", *ping).returncode == 0
    finally:
        lab("down", "--name", other)
        lab("down", "--name", name)
    assert_nothing_left(tmp_path)


def test_a_killed_supervisor_leaves_nothing_and_the_next_up_clears(
    name: str, tmp_path: Path
) -> None:
    assert lab("up", "--name", name, "--nodes", "2", data_dir=tmp_path).returncode == 0
    os.kill(int((run_folder(name) / "pid").read_text()), signal.SIGKILL)
    assert_nothing_left(tmp_path)
    assert not is_up(name)
    status = lab("status", "--name", name)
    assert status.returncode == 1
    assert "killed" in status.stdout
    assert lab("up", "--name", name, "--nodes", "2", data_dir=tmp_path).returncode == 0
    assert lab("down", "--name", name).returncode == 0
    assert_nothing_left(tmp_path)


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
    command = [*LAB, "up", "--name", name, "--nodes", "2", "--data-dir", str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: (tmp_path / name / moment).exists(), moment)
    process.send_signal(number)
    _, errors = process.communicate(timeout=_DEADLINE_SECONDS)
    assert process.returncode in (130, 143, -number)
    assert "Traceback" not in errors
    assert_nothing_left(tmp_path)
    assert not is_up(name)


def test_overlapping_subnets_change_nothing(name: str, tmp_path: Path) -> None:
    done = lab("up", "--name", name, "--cluster-network", "192.0.0.0/16", data_dir=tmp_path)
    assert done.returncode == 2
    assert "--underlay 192.0.2.0/24 and --cluster-network 192.0.0.0/16 overlap" in done.stderr
    assert not list(tmp_path.iterdir())
