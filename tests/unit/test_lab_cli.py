"""Whatever happens to `python -m lab`, a person reads words and never a traceback."""

import pytest
import typer
from typer.testing import CliRunner

from geneveil.model.errors import ConfigError
from lab import cli


@pytest.mark.parametrize(
    ("error", "said", "status"),
    [
        (PermissionError(13, "Permission denied", "/x"), "lab: /x: Permission denied\n", 1),
        (OSError(28, "No space left on device"), "lab: this machine: No space left on device\n", 1),
        (ConfigError("--name", why="no name"), "lab: --name: no name\n", 2),
    ],
)
def test_a_failure_is_one_line(
    error: Exception,
    said: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == status
    assert capsys.readouterr().err == said


def test_an_interrupted_command_says_that_nothing_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as ended:
        cli._run(interrupted())
    assert ended.value.exit_code == 130
    said = "lab: interrupted; everything that this command had started is gone\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["demo", "--encapsulation", "auto"], "--encapsulation: Auto or Always"),
        (["demo", "--control-plane", "okd"], "--control-plane: standalone or kubernetes"),
        (["status", "--output", "xml"], "--output: table or json"),
    ],
)
def test_a_word_that_is_none_of_the_choices_is_refused_first(words: list[str], said: str) -> None:
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())
