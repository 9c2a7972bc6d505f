"""nft that is missing, may not be run or fails: said in words, and never taken for "no guard"."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from geneveil.guard.io import NftGuard
from geneveil.model.errors import DaemonError, KernelError
from geneveil.model.guard import GuardSpec

SPEC = GuardSpec((6081,))
DO: dict[str, Callable[[NftGuard], object]] = {
    "read": lambda guard: guard.read(),
    "apply": lambda guard: guard.apply(SPEC),
    "cover": lambda guard: guard.cover(SPEC),
    "restore": lambda guard: guard.restore(SPEC, {}),
    "remove": lambda guard: guard.remove(),
}
every_verb = pytest.mark.parametrize("verb", list(DO))


def program(folder: Path, script: str) -> str:
    path = folder / "nft"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@every_verb
def test_a_machine_without_nft(verb: str, tmp_path: Path) -> None:
    with pytest.raises(DaemonError) as caught:
        DO[verb](NftGuard(str(tmp_path / "nft")))
    assert "nft is not on this machine: the guard cannot be set or read" in caught.value.render()
    assert "install nftables" in caught.value.render()
    assert caught.value.exit_status != 0


@every_verb
def test_nft_that_may_not_be_run(verb: str, tmp_path: Path) -> None:
    path = Path(program(tmp_path, "true"))
    path.chmod(0o644)
    with pytest.raises(DaemonError, match=r"cannot start nft: .*Permission denied"):
        DO[verb](NftGuard(str(path)))


@every_verb
def test_nft_that_fails_at_everything(verb: str, tmp_path: Path) -> None:
    nft = program(tmp_path, "echo Operation not permitted >&2; exit 1")
    with pytest.raises(KernelError, match="Operation not permitted"):
        DO[verb](NftGuard(nft))


def test_guard_apply_on_a_machine_without_nft_fails_in_words(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text("apiVersion: geneveil.io/v1alpha1\nkind: AgentConfig\nmode: Full\n")
    done = subprocess.run(
        [sys.executable, "-m", "geneveil", "guard", "apply", "--config", str(config)],
        capture_output=True,
        text=True,
        env={"PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
    )
    assert done.returncode != 0
    assert "install nftables" in done.stderr
    assert "Traceback" not in done.stderr
