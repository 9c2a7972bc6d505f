"""The `geneveil` program where no command expects it: full disks, files that may not be read."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from geneveil.cli.app import app, main
from geneveil.model.errors import GeneveilError


def parameters(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for parameter in command.params:
        descriptor = getattr(parameter, "type_descriptor", None)
        if descriptor is not None and "Path" in str(descriptor.annotation):
            yield f"{name} {parameter.name}", descriptor.parameter_info
    for word, below in getattr(command, "commands", {}).items():
        yield from parameters(below, f"{name} {word}")


def groups(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    below = getattr(command, "commands", {})
    if below:
        yield words
    for word, each in below.items():
        yield from groups(each, (*words, word))


@pytest.mark.parametrize("words", list(groups(typer.main.get_command(app))), ids=" ".join)
def test_each_line_of_a_list_of_commands_is_whole(words: tuple[str, ...]) -> None:
    listed = CliRunner().invoke(app, [*words, "--help"]).output.partition("Commands:")[2]
    assert listed
    assert "..." not in listed


def test_a_file_that_may_not_be_read_is_left_to_its_reader() -> None:
    """typer would end the program before: `guard apply` without a guard, and with a usage text."""
    found = dict(parameters(typer.main.get_command(app), "geneveil"))
    assert "geneveil guard apply config" in found
    assert [name for name, one in found.items() if one.readable] == []


def test_a_full_disk_is_said_to_be() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "geneveil", "mtu"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "geneveil: the output cannot be written: No space left on device\n"


def test_a_folder_that_may_not_be_searched_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    monkeypatch.setattr(sys, "argv", ["geneveil", "verify", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    # 1 would be a verdict.
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"geneveil: {tmp_path}/evidence.json: Permission denied\n"


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["status", "--cluster", "--kubeconfig", "nowhere"], "give --kubeconfig"),
        (["operator", "list", "--kubernetes", "--kubeconfig", "nowhere"], "give --kubeconfig"),
        (["status", "--run-dir", "nowhere"], "all nodes of a Kubernetes cluster: --cluster"),
    ],
)
def test_who_is_at_the_wrong_place_is_told_the_right_one(words: list[str], remedy: str) -> None:
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, GeneveilError)
    assert remedy in error.remedy
