"""A lab as an ordinary user, and without /dev/net/tun: nobody likes to run a demo as root.

What the machine lacks for it is said loudly by the skip; `python -m lab setup`, as that user, asks
for the same.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.build.cache import default_root
from lab.lifecycle import Programs
from tests.lab.conftest import OpenLab
from tests.lab.leftovers import MARK_VARIABLE, Watched
from tests.lab.ordinary_user import USER_ID

pytestmark = pytest.mark.lab
AsUser = Callable[..., subprocess.CompletedProcess[str]]
_IN_USER_NAMESPACE = ["unshare", "--user", "--map-root-user", "--map-auto"]
PING = "ip netns exec node1-pod1 ping -c 2 -W 20 10.128.2.10"


@pytest.fixture
def as_user(tmp_path: Path) -> AsUser:
    """Run a command as an ordinary user whose home is `tmp_path/home`."""
    if os.geteuid() != 0:
        pytest.skip("an ordinary user runs all lab tests already")
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, USER_ID, USER_ID)
    program = Path(__file__).with_name("ordinary_user.py")

    def run(
        *command: str, stdin: int | None = None, mark: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["unshare", "--mount", sys.executable, str(program), str(home), "--", *command],
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            env={**os.environ, MARK_VARIABLE: mark},
        )

    tried = run(*_IN_USER_NAMESPACE, "--mount", "--net", "true")
    if tried.returncode:
        pytest.skip(f"THE ORDINARY USER'S LAB IS NOT TESTED HERE: {tried.stderr.strip()}")
    return run


def give_cache(programs: Programs, home: Path, as_user: AsUser) -> None:
    """Copy root's artifacts into the user's own cache, owners and all, as if built there."""
    root, cache = default_root(), home / ".cache" / "geneveil"
    made = as_user("mkdir", "-p", str(cache))
    assert made.returncode == 0, made.stderr
    paths = (programs.kernel, programs.rootfs, programs.site, programs.code)
    kept = [str(Path(*path.relative_to(root).parts[:2])) for path in paths]
    with subprocess.Popen(["tar", "-C", str(root), "-c", *kept], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        unpack = ["tar", "-C", str(cache), "-x", "-p", "--numeric-owner"]
        done = as_user(*_IN_USER_NAMESPACE, *unpack, stdin=tar.stdout.fileno())
    assert done.returncode == 0, done.stderr


def test_ordinary(programs: Programs, as_user: AsUser, tmp_path: Path) -> None:
    home = tmp_path / "home"
    give_cache(programs, home, as_user)
    name = f"t-{os.getpid()}"
    watched = Watched(name)

    def lab(*words: str) -> subprocess.CompletedProcess[str]:
        return as_user(sys.executable, "-m", "lab", words[0], "--name", name, *words[1:], mark=name)

    data_dir = home / "labs"
    try:
        up = lab("up", "--nodes", "2", "--data-dir", str(data_dir))
        assert up.returncode == 0, up.stderr
        watched.look()
        assert watched.owners() == {USER_ID}
        assert (data_dir / name / "spec.json").read_text().count('"transport": "raw"') == 1
        ping = lab("exec", "node1", "--", *PING.split())
        assert ping.returncode == 0, ping.stdout + ping.stderr
    finally:
        down = lab("down")
    assert down.returncode == 0, down.stderr
    watched.assert_nothing_left()
    # The next `lab up` clears what this one left, files of the guests' other users too.
    clear = "import sys, pathlib, lab.claim as c; c.claim_folder(pathlib.Path(sys.argv[1]))"
    cleared = as_user(sys.executable, "-c", clear, str(data_dir / name))
    assert cleared.returncode == 0, cleared.stderr
    assert [path.name for path in (data_dir / name).iterdir()] == [".geneveil-lab"]


def test_guests_reach_each_other_without_taps(open_lab: OpenLab, runner: asyncio.Runner) -> None:
    """As where /dev/net/tun may not be opened, whoever may open it here."""
    with open_lab("t-raw", ipsec=False, over="raw") as running:
        assert running.layout.spec.transport == "raw"
        runner.run(running.remote("node1").check(PING))
