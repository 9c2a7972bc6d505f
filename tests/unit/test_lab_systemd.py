"""Nodes that systemd boots: what is installed in them, and how units' records are read."""

from pathlib import Path

import pytest

from lab.errors import LabError
from lab.shared_folder import GUEST_FILES
from lab.systemd_units import Unit, parse_units

TOP = Path(__file__).parents[2]
SHOWN = """\
Result=success
NRestarts=0
MainPID=0
Id=geneveil-guard.service
ActiveState=active
InactiveExitTimestampMonotonic=1500000
ActiveEnterTimestampMonotonic=2250000

Result=exit-code
NRestarts=3
MainPID=77
Id=geneveil-agent.service
ActiveState=failed
InactiveExitTimestampMonotonic=0
ActiveEnterTimestampMonotonic=0
"""


def _console_block(text: str) -> list[str]:
    """The commands of a document's first console block, continued lines joined."""
    block = text.split("```console\n", 1)[1].split("```", 1)[0]
    return block.replace("\\\n", "").splitlines()


def _words(line: str) -> list[str]:
    return line.partition("#")[0].split()


def test_nodes_are_installed_by_the_commands_of_the_document() -> None:
    page = (TOP / "docs/bare-hosts.md").read_text()
    told = _console_block(page.partition("\n## Install\n")[2])
    done = (GUEST_FILES / "by-systemd").read_text().replace("\\\n", "").splitlines()
    ran = [_words(line) for line in done]
    # The root is laid out before systemd runs: nothing to reload, nothing to start.
    wanted = [
        [word for word in _words(line) if word != "--now"]
        for line in told
        if _words(line) != ["systemctl", "daemon-reload"]
    ]
    assert len(wanted) >= 6
    assert [line for line in wanted if line not in ran] == []


def test_records_of_units_are_read() -> None:
    units = parse_units(SHOWN)
    guard, agent = units["geneveil-guard.service"], units["geneveil-agent.service"]
    assert guard == Unit("geneveil-guard.service", "active", "success", 0, 0, 1_500_000, 2_250_000)
    assert agent == Unit("geneveil-agent.service", "failed", "exit-code", 77, 3, 0, 0)


def test_a_record_without_a_property_is_an_error() -> None:
    with pytest.raises(LabError, match="MainPID"):
        parse_units(SHOWN.replace("MainPID=77\n", ""))
