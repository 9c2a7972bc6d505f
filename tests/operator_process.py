"""The operator as a process, for tests that talk to it."""

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geneveil.enroll.io import EnrolmentClient
from geneveil.enroll.port import JoinToken
from geneveil.enroll.wire import parse_token

CONFIG = """apiVersion: geneveil.io/v1alpha1
kind: ClusterIPsec
metadata: {{name: prod}}
spec: {{mode: {mode}, operator: {{listen: "127.0.0.1:0", names: [central]}}}}
"""


def geneveil(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "geneveil", "operator", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == expect, done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    return done


@dataclass
class Operator:
    """A running operator."""

    state: Path
    process: subprocess.Popen[str]
    port: int

    @property
    def client(self) -> EnrolmentClient:
        return EnrolmentClient(f"https://127.0.0.1:{self.port}", timeout_seconds=20)

    def command(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        return geneveil(*arguments, "--state-dir", str(self.state), expect=expect)

    def read(self, *arguments: str) -> Any:
        return json.loads(self.command(*arguments, "-o", "json").stdout)

    def token(self, chassis: str = "node-1", expires: str = "1h") -> JoinToken:
        return parse_token(self.command("token", chassis, "--expires", expires).stdout)

    def last_entry(self) -> dict[str, Any]:
        entry = self.read("log")["entries"][-1]
        assert isinstance(entry, dict)
        return entry

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=30)
        return self.process.returncode


def start(state: Path, *options: str) -> Operator:
    process = subprocess.Popen(
        [sys.executable, "-m", "geneveil", "operator", "run", "--state-dir", str(state), *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := re.search(r'event="listening".* port=(\d+)', line):
            return Operator(state, process, int(found[1]))
    process.wait()
    raise AssertionError(f"the operator did not start: {said}")


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
