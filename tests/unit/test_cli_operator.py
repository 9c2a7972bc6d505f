"""`geneveil operator …`: what it prints for people and machines."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from geneveil.cli import operator_ca, operator_revoke
from geneveil.cli.app import app
from geneveil.cli.operator_options import fit_widths, print_table
from geneveil.model.errors import ConfigError

LINES = [["name", "valid until", "hash"], ["node1", "2026-11-28 06:04:21Z", "0123456789abcdef" * 4]]


@pytest.mark.parametrize(
    ("room", "widths"),
    [
        (200, [5, 20, 64]),
        (80, [5, 20, 48]),
        (60, [5, 20, 28]),
        (50, [5, 18, 20]),
        (20, [5, 10, 20]),  # nothing left to fold at: the terminal wraps
    ],
)
def test_a_table_is_folded_at_spaces_where_there_is_no_room(room: int, widths: list[int]) -> None:
    assert fit_widths(LINES, room) == widths


def test_a_table_is_written_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"at": "2026-11-28T06:04:21Z", "signs": True, "serves": False, "next": None, "left": 0,
           "detail": "\x1b[2J"}  # fmt: skip
    print_table([row], {name: name for name in row}, "none")
    last = capsys.readouterr().out.rstrip().splitlines()[-1]
    assert re.split(r"  +", last.strip()) == ["2026-11-28 06:04:21Z", "yes", "no", "-", "0", "?[2J"]


@pytest.mark.parametrize(
    ("words", "document"),
    [
        (
            ["revoke", "node2", "--reason", "keyCompromise"],
            {"isRequested": True, "node": "node2", "reason": "keyCompromise"},
        ),
        (["ca", "rotate", "--wave", "6h"], {"isRequested": True, "wave": "6h"}),
    ],
)
def test_machines_get_json_of_what_the_leader_was_asked(
    monkeypatch: pytest.MonkeyPatch, words: list[str], document: dict[str, object]
) -> None:
    monkeypatch.setattr(operator_revoke, "wish_revocation", lambda *_: None)
    monkeypatch.setattr(operator_ca, "wish_rotation", lambda *_: None)
    done = CliRunner().invoke(app, ["operator", *words, "--kubernetes", "-o", "json"])
    assert json.loads(done.stdout) == document


@pytest.mark.parametrize("words", [["list"], ["log"], ["ca", "status"], ["revoke", "node1"]])
def test_where_no_operator_is_kubernetes_is_spoken_of(tmp_path: Path, words: list[str]) -> None:
    done = CliRunner().invoke(app, ["operator", *words, "--state-dir", str(tmp_path)])
    assert isinstance(done.exception, ConfigError)
    assert "--kubernetes" in done.exception.remedy


def test_the_log_of_a_cluster_is_looked_for_in_its_own_namespace() -> None:
    words = ["operator", "log", "--kubernetes", "--check", "--namespace", "elsewhere"]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, ConfigError)
    assert "-n elsewhere -l app.kubernetes.io/component=operator" in done.exception.remedy
