"""The operator as a process, for tests that talk to it."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geneveil.enroll.io import EnrolmentClient
from geneveil.enroll.port import JoinToken
from geneveil.enroll.wire import parse_token
from lab.ports import free_port

DEADLINE_SECONDS = 120.0
"""Only a failure takes as long: a test must hold on a machine with much else to do."""

CONFIG = """apiVersion: geneveil.io/v1alpha1
kind: ClusterIPsec
metadata: {{name: prod}}
spec: {{mode: {mode}, operator: {{listen: "127.0.0.1:0", names: [central]}}}}
"""


def geneveil(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "geneveil", "operator", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert done.returncode == expect, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


@dataclass
class Operator:
    """A running operator."""

    state: Path
    process: subprocess.Popen[bytes]
    port: int

    @property
    def client(self) -> EnrolmentClient:
        return EnrolmentClient(f"https://127.0.0.1:{self.port}", timeout_seconds=DEADLINE_SECONDS)

    def command(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        return geneveil(*arguments, "--state-dir", str(self.state), expect=expect)

    def read(self, *arguments: str) -> Any:
        return json.loads(self.command(*arguments, "-o", "json").stdout)

    def token(self, chassis: str = "node-1", expires: str = "1h") -> JoinToken:
        return parse_token(self.command("token", chassis, "--expires", expires).stdout)

    def last_entry(self) -> dict[str, Any]:
        """The last one about somebody who asked; the operator's own duties have theirs too."""
        entries: list[dict[str, Any]] = self.read("log")["entries"]
        return [entry for entry in entries if entry["remote"]][-1]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_SECONDS)


def start(state: Path, *options: str) -> Operator:
    """Start one and wait until it listens: at a port that stays its own after a kill."""
    if "--listen" not in options:
        options = (*options, "--listen", f"127.0.0.1:{free_port('127.0.0.1')}")
    command = [sys.executable, "-m", "geneveil", "operator", "run", "--state-dir", str(state)]
    log = state.parent / f"{state.name}.log"
    with log.open("ab") as output:
        before = log.stat().st_size
        process = subprocess.Popen([*command, *options], stderr=output)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        is_over = process.poll() is not None
        said = log.read_bytes()[before:].decode(errors="replace")
        if found := re.search(r'event="listening".* port=(\d+)\n', said):
            return Operator(state, process, int(found[1]))
        if is_over or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise AssertionError(f"the operator did not start: {said}")
        time.sleep(0.02)


def init(directory: Path, mode: str = "Full", *options: str) -> Path:
    config, state = directory / "cluster.yaml", directory / "state"
    config.write_text(CONFIG.format(mode=mode))
    geneveil("init", "--config", str(config), "--state-dir", str(state), *options)
    return state


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Operator]:
    operator = start(init(directory))
    try:
        yield operator
    finally:
        if operator.process.poll() is None:
            operator.stop()
