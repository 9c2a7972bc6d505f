"""`geneveil verify` on evidence folders, as a person or an auditor runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from geneveil.verify.flows import Phase
from geneveil.verify.report import Report, report_schema
from tests.synthetic_lab import clear_geneve, record, write_folder

SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"


def run(*arguments: str | Path, **besides: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **besides}
    return subprocess.run(
        [sys.executable, "-m", "geneveil", "verify", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "good", record(Phase.DISABLED), record(Phase.ENABLED))


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    enabled = record(Phase.ENABLED)
    probe = enabled.probe()
    enabled.frames[probe.id] = [clear_geneve(enabled, probe)]
    return write_folder(tmp_path / "leaking", record(Phase.DISABLED), enabled)


def test_good_evidence(good: Path) -> None:
    result = run(good)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1].startswith("PASS: all 240 observations")
    assert {p.name for p in good.iterdir()} == {
        "disabled.pcap",
        "enabled.pcap",
        "evidence.json",
        "report.json",
        "report.html",
        "diagram.svg",
    }


@pytest.mark.parametrize(
    "besides", [{"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii"}, {"COLUMNS": "40"}]
)
def test_no_terminal_takes_a_word_of_the_verdict(leaking: Path, besides: dict[str, str]) -> None:
    result = run(leaking, **besides)
    assert (result.returncode, result.stderr) == (1, "")
    plain = result.stdout.replace("|", " ").replace("→", "->")
    (row,) = (line for line in plain.splitlines() if line.split()[:1] == ["node1"])
    assert row.split() == ["node1", "->", "node2", "differing", "11/12", "1", "11", "FAIL"]
    assert "observed clear (node1 -> node2 udp small request)" in plain


def test_a_leak(leaking: Path) -> None:
    result = run(leaking)
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "FAIL: 2 reasons"
    assert "1 Geneve frame in clear; first: frame 7" in result.stdout
    assert "Traceback" not in result.stderr
    report = Report.from_json((leaking / "report.json").read_text())
    assert not report.verdict.passed


def test_machines_get_the_report(good: Path) -> None:
    result = run(good, "-o", "json")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (good / "report.json").read_text()
    schema = json.loads((SCHEMAS / "report.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads(result.stdout))


def test_the_published_schema_is_what_the_classes_say() -> None:
    assert json.loads((SCHEMAS / "report.schema.json").read_text()) == report_schema()


def test_a_report_is_read_back_as_it_was_written(good: Path) -> None:
    text = run(good, "-o", "json").stdout
    assert Report.from_json(text).to_json() == text


def test_no_key_leaves_the_evidence(leaking: Path) -> None:
    run(leaking, "--details")
    keys = [sa.key.hex() for sa in record(Phase.ENABLED).evidence.sa_keys]
    assert all(key in (leaking / "evidence.json").read_text() for key in keys)
    for name in ("report.json", "report.html", "diagram.svg"):
        text = (leaking / name).read_text()
        assert not any(key in text for key in keys)


def test_details_show_every_pair(good: Path) -> None:
    assert "node2 → node1" not in run(good).stdout
    assert "node2 → node1" in run(good, "--details").stdout


def test_reports_elsewhere(good: Path, tmp_path: Path) -> None:
    before = {p.name for p in good.iterdir()}
    assert run(good, "--report-dir", tmp_path / "new" / "audit").returncode == 0
    assert {p.name for p in (tmp_path / "new" / "audit").iterdir()} == {
        "report.json",
        "report.html",
        "diagram.svg",
    }
    assert {p.name for p in good.iterdir()} == before


def test_help_shows_examples() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert "geneveil verify out/demo --details" in result.stdout


def cut(folder: Path) -> None:
    data = (folder / "enabled.pcap").read_bytes()
    (folder / "enabled.pcap").write_bytes(data[:-3])


def edit_evidence(folder: Path, old: str, new: str) -> None:
    text = (folder / "evidence.json").read_text()
    assert old in text
    (folder / "evidence.json").write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda d: (d / "evidence.json").unlink(), "evidence.json: No such file"),
        (lambda d: (d / "enabled.pcap").unlink(), "enabled.pcap: No such file"),
        (lambda d: (d / "enabled.pcap").write_bytes(b""), "enabled.pcap is empty"),
        (lambda d: (d / "enabled.pcap").write_text("hello"), "enabled.pcap is not a pcap file"),
        (cut, "enabled.pcap is cut short: frame"),
        (lambda d: (d / "evidence.json").write_text("{"), "evidence.json is not JSON"),
        (lambda d: (d / "evidence.json").write_bytes(b"\xff"), "evidence.json is not UTF-8"),
        (
            lambda d: edit_evidence(d, '"enabled.pcap"', '"../enabled.pcap"'),
            "it must lie in the folder",
        ),
        (
            lambda d: edit_evidence(
                d, '"certificate_pem": null', '"certificate_pem": "-----BEGIN CERTIFICATE-----"'
            ),
            "certificate of node1 can't be read",
        ),
    ],
)
def test_evidence_that_cannot_be_judged(good: Path, spoil: "object", complaint: str) -> None:
    assert callable(spoil)
    spoil(good)
    result = run(good)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert result.stderr.startswith("geneveil: ")
    assert result.stderr.count("\n") == 1
    assert not (good / "report.json").exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere")
    assert result.returncode == 2
    assert "is not a folder" in result.stderr


def test_reports_that_cannot_be_written(good: Path) -> None:
    result = run(good, "--report-dir", good / "evidence.json")
    assert result.returncode == 2
    assert "cannot write" in result.stderr
    assert "Traceback" not in result.stderr


REPORTS = ("report.json", "report.html", "diagram.svg")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda d: (d / "enabled.pcap").unlink(), id="no capture"),
        pytest.param(cut, id="a capture cut short"),
        pytest.param(lambda d: (d / "evidence.json").write_text("{"), id="evidence cut short"),
        pytest.param(lambda d: (d / "evidence.json").unlink(), id="no evidence"),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_no_old_verdict_stays_beside_broken_evidence(
    good: Path, tmp_path: Path, spoil: "object", elsewhere: bool
) -> None:
    reports = tmp_path / "audit" if elsewhere else good
    assert run(good, "--report-dir", reports).returncode == 0
    (reports / "notes.html").write_text("an auditor's own")
    assert callable(spoil)
    spoil(good)
    assert run(good, "--report-dir", reports).returncode == 2
    assert [name for name in REPORTS if (reports / name).exists()] == []
    assert (reports / "notes.html").exists()


def test_what_others_wrote_stays_where_there_is_no_evidence(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>Somebody else's report")
    result = run(tmp_path)
    assert result.returncode == 2
    assert "evidence.json: No such file" in result.stderr
    assert (tmp_path / "report.html").exists()


def test_an_old_report_that_cannot_be_removed(good: Path) -> None:
    (good / "report.html").mkdir()
    result = run(good)
    assert result.returncode == 2
    assert "cannot remove" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (good / "report.json").exists()
