"""Real daemons for tests: from this machine, or from the root file system that the lab built.

Programs of the lab's root run with its own loader and libraries; charon, which looks for its
plugins at fixed places, runs in a mount namespace with that root. Each test has a network
namespace of its own, so that nothing of this machine is touched.
"""

import contextlib
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.build import artifacts

DEADLINE_SECONDS = 120.0
"""Only a failure takes as long: a test must hold on a machine with much else to do."""


def lab_root() -> Path | None:
    """The lab's root file system, if it was built."""
    (state,) = (state for state in artifacts.status() if state.kind == "rootfs")
    root = state.folder / "root"
    return root if root.is_dir() else None


def command_of(program: str) -> list[str]:
    """How to run a program; fails the test, for `make test` has built it, if there is none."""
    found = shutil.which(program)
    if found:
        return [found]
    root = lab_root()
    if root is None:
        pytest.fail(f"{program} is neither on this machine nor in a built lab (make setup)")
    for folder in ("usr/sbin", "usr/bin"):
        if (root / folder / program).exists():
            loader = root / "lib64/ld-linux-x86-64.so.2"
            libraries = root / "usr/lib/x86_64-linux-gnu"
            return [str(loader), "--library-path", str(libraries), str(root / folder / program)]
    pytest.fail(f"{program} is not in the lab's root file system")


def need_root() -> None:
    """Skip where no network namespace can be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces")


@contextlib.contextmanager
def network_namespace() -> Iterator[str]:
    """A named network namespace with its loopback up."""
    need_root()
    name = f"gv-{uuid.uuid4().hex[:8]}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        run("ip", "netns", "delete", name)


def wrapper(folder: Path, program: str, namespace: str) -> Path:
    """A script in `folder` that runs the program inside the namespace."""
    inner = " ".join(["ip", "netns", "exec", namespace, *command_of(program)])
    script = folder / program
    script.write_text(f'#!/bin/sh\nexec {inner} "$@"\n')
    script.chmod(0o755)
    return script


@contextlib.contextmanager
def process(*argv: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended at the end, whatever state it is in."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            argv, stdout=output, stderr=output, env={**os.environ, **environment}
        )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.wait(DEADLINE_SECONDS)


def run(*argv: str) -> str:
    """Run to the end; a failure fails the test with what was printed."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def wait_until(question: Callable[[], bool], what: str) -> None:
    """Ask again and again until it is true; fails the test after a while."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not question():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.02)
