"""The demo itself, from the command line to the report, as a person runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from geneveil.verify.flows import Phase
from lab.demo import LOCK_FILE, OUTPUTS
from lab.lifecycle import Programs
from tests.lab.leftovers import MARK_VARIABLE, Watched, wait_for

pytestmark = pytest.mark.lab
SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"
STALE = "of an earlier run"


def start(out: Path, name: str, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "lab", "demo", "--out", str(out), "--name", name, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, MARK_VARIABLE: name},
    )


def valid(folder: Path, what: str) -> dict[str, object]:
    """A document of the demo, after it was held against its published schema."""
    document: dict[str, object] = json.loads((folder / f"{what}.json").read_text())
    schema = json.loads((SCHEMAS / f"{what}.schema.json").read_text())
    Draft202012Validator(schema).validate(document)
    return document


def test_the_demo_passes_and_a_second_one_beside_it_is_refused(
    programs: Programs, tmp_path: Path
) -> None:
    out, name = tmp_path / "demo", f"t-demo-{os.getpid()}"
    out.mkdir()
    for each in OUTPUTS:
        (out / each).write_text(STALE)
    watched = Watched(name)
    first = start(out, name)
    capture = Path("out/lab") / f"{name}-{Phase.DISABLED.value}" / "capture.pcap"
    wait_for(lambda: capture.exists() or first.poll() is not None, "the first cluster")
    watched.look()
    assert not any((out / each).exists() for each in OUTPUTS)  # no old PASS while it runs
    second = start(out, f"{name}-b")
    _, refusal = second.communicate(timeout=60)
    assert second.returncode == 2, refusal
    assert "another demo is writing to it" in refusal

    output, errors = first.communicate(timeout=600)
    assert first.returncode == 0, output + errors
    watched.assert_nothing_left()
    check_outputs(out)
    assert LOCK_FILE not in OUTPUTS
    assert "PASS: all 648 observations are as expected" in " ".join(output.split())


def test_the_demo_passes_on_kubernetes(kube_programs: Programs, tmp_path: Path) -> None:
    """As `make demo KUBERNETES=1` runs it."""
    out, name = tmp_path / "demo", f"t-demo-k-{os.getpid()}"
    watched = Watched(name)
    demo = start(out, name, "--control-plane", "kubernetes")
    output, errors = demo.communicate(timeout=600)
    assert demo.returncode == 0, output + errors
    watched.assert_nothing_left()
    check_outputs(out)
    assert "PASS: all 648 observations are as expected" in " ".join(output.split())


def check_outputs(out: Path) -> None:
    """All are there and of this run, as their schemas say, and the verdict is a pass."""
    assert {path.name for path in out.iterdir()} == set(OUTPUTS)
    for each in OUTPUTS:
        content = (out / each).read_bytes()
        assert content
        assert STALE.encode() not in content
    valid(out, "evidence")
    verdict = valid(out, "report")["verdict"]
    assert isinstance(verdict, dict)
    assert verdict["passed"] is True
    assert verdict["reasons"] == []
