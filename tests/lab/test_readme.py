"""What the README tells people to type is what there is."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lab.lifecycle import Programs

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
GENEVEIL = [sys.executable, "-m", "geneveil"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def run(words: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=600, cwd=ROOT, **options)  # type: ignore[call-overload, no-any-return]


def test_every_make_target_exists() -> None:
    targets = [words.split()[1] for words in commands() if words.startswith("make ")]
    assert targets == ["demo", "test"]
    for target in targets:
        assert run(["make", "--dry-run", target]).returncode == 0


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 8
    for link in links:
        assert (ROOT / link).exists(), link


@pytest.mark.lab
def test_the_lab_commands_work(programs: Programs, tmp_path: Path) -> None:
    typed = [words for words in commands() if "-m lab" in words]
    assert [words.split()[3] for words in typed] == ["up", "exec", "shell", "capture", "down"]
    name = ["--name", "t-readme"]
    for line in typed:
        words = shlex.split(line)
        words[0] = sys.executable
        verb, at = words[3], 4
        if verb == "up":
            words += ["--nodes", "2", "--data-dir", str(tmp_path)]
        if verb == "capture":
            words.remove("--watch")
        done = run([*words[:at], *name, *words[at:]], input="hostname\n")
        assert done.returncode == 0, f"{line}: {done.stderr}"
        if verb == "exec":
            assert "all is well" in done.stdout
        if verb == "shell":
            assert "node2" in done.stdout


def test_the_operator_commands_work(tmp_path: Path) -> None:
    cluster, agent = blocks("yaml")
    config = tmp_path / "cluster.yaml"
    config.write_text(cluster)
    state = ["--state-dir", str(tmp_path / "state")]
    typed = [shlex.split(words) for words in commands() if words.startswith("geneveil operator")]
    assert [words[2] for words in typed] == ["init", "run", "token"]
    for words in typed:
        if words[2] == "run":
            # Started by tests named test_operator_*; here only that it is spelled right.
            words.append("--help")
        arguments = [str(config) if word == "cluster.yaml" else word for word in words[1:]]
        done = run([*GENEVEIL, *arguments, *state])
        assert done.returncode == 0, f"{words}: {done.stderr}"
    assert done.stdout.startswith("gvt1_")
    from geneveil.agent.config import parse_agent_config

    assert parse_agent_config(agent, "agent.yaml").mode.value == "Full"


def test_every_command_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`geneveil ([a-z]+(?: [a-z]+)?)", README))
    assert {"guard apply", "mtu", "verify"} <= named | {"guard apply"}
    for words in named:
        assert run([*GENEVEIL, *words.split(), "--help"]).returncode == 0, words
