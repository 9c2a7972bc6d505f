"""charon's container: a Pod that ends kills it, so that its SAs carry on."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.real.programs import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.real

MANIFEST = Path(__file__).parents[2] / "deploy/manifests/full.yaml"
STAND_IN = """#!/bin/sh
cd "$(dirname "$0")"
trap 'touch asked-to-end; exit 0' TERM
trap 'exit 7' USR1
echo $$ > charon.pid.new && mv charon.pid.new charon.pid
while :; do sleep 0.05; done
"""


def command() -> list[str]:
    documents: list[Any] = [d for d in yaml.safe_load_all(MANIFEST.read_text()) if d]
    (agent,) = (d for d in documents if d["kind"] == "DaemonSet")
    containers = agent["spec"]["template"]["spec"]["containers"]
    (charon,) = (c for c in containers if c["name"] == "charon")
    return list(charon["command"])


@pytest.fixture
def container(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    program = tmp_path / "charon-systemd"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    words = [word.replace("/usr/sbin/charon-systemd", str(program)) for word in command()]
    assert words != command()
    with subprocess.Popen(words, start_new_session=True) as shell:
        wait_until((tmp_path / "charon.pid").exists, "charon's stand-in to run")
        yield shell
        shell.kill()


def charon_of(folder: Path) -> int:
    return int((folder / "charon.pid").read_text())


def is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def test_a_pod_that_ends_kills_charon(container: subprocess.Popen[bytes], tmp_path: Path) -> None:
    charon = charon_of(tmp_path)
    container.send_signal(signal.SIGTERM)
    container.wait(DEADLINE_SECONDS)
    wait_until(lambda: is_gone(charon), "charon's stand-in to be gone")
    assert not (tmp_path / "asked-to-end").exists()


def test_a_charon_that_ends_ends_its_container(
    container: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    os.kill(charon_of(tmp_path), signal.SIGUSR1)
    assert container.wait(DEADLINE_SECONDS) == 7
