"""A witness that ends before it is told to is never taken for one that saw everything."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.spec import LabSpec
from lab.supervisor import WITNESS_FILE, Supervisor
from lab.testimony import WitnessReport, parse_witness_report

LAST_WORDS = "7 packets captured\n7 packets received by filter\n2 packets dropped by kernel\n"
# Says its words when it is told to end, as tcpdump does; or ends by itself.
OBEDIENT = 'trap "printf %s \\"$1\\" >&2; exit" INT; echo ready; while :; do sleep 0.01; done'
BY_ITSELF = 'echo ready; printf "%s" "$1" >&2'


def witnessed(folder: Path, script: str, before_stop: Callable[[Any], Awaitable[None]]) -> Any:
    """Let a program be the witness of a lab without guests, and stop it."""
    spec = LabSpec(
        "x", str(folder), str(folder), "", "", "tap", str(folder / "capture.pcap"), "", ()
    )

    async def run() -> None:
        supervisor = Supervisor(spec)
        pipe = asyncio.subprocess.PIPE
        witness = await asyncio.create_subprocess_exec(
            "sh", "-c", script, "witness", LAST_WORDS, stdout=pipe, stderr=pipe
        )
        assert witness.stdout is not None
        assert await witness.stdout.readline() == b"ready\n"
        supervisor.witness = witness
        supervisor.witness_heard = asyncio.create_task(supervisor._hear_witness(witness))
        await before_stop(supervisor)
        supervisor.halted_at["node1"] = datetime.now(UTC).timestamp()
        await supervisor._stop_witness()
        await supervisor._stop_witness()  # as the end of the supervisor does once more

    asyncio.run(run())
    return json.loads((folder / WITNESS_FILE).read_text())


async def at_once(supervisor: Supervisor) -> None:
    assert supervisor._status()["witness"]


async def once_it_is_dead(supervisor: Supervisor) -> None:
    assert supervisor.witness_heard is not None
    await supervisor.witness_heard
    assert not supervisor._status()["witness"]


async def once_it_is_killed(supervisor: Supervisor) -> None:
    assert supervisor.witness is not None
    supervisor.witness.kill()
    await once_it_is_dead(supervisor)


def test_one_that_is_told_to_end_stops_after_the_last_guest(tmp_path: Path) -> None:
    testimony = witnessed(tmp_path, OBEDIENT, at_once)
    assert testimony["stopped_at"] >= testimony["halted_at"]["node1"]
    assert testimony["report"] == LAST_WORDS


def test_one_that_ends_by_itself_leaves_its_report_and_when_it_ended(tmp_path: Path) -> None:
    testimony = witnessed(tmp_path, BY_ITSELF, once_it_is_dead)
    assert testimony["report"] == LAST_WORDS
    assert testimony["stopped_at"] < testimony["halted_at"]["node1"]


def test_one_that_is_killed_leaves_that_it_said_nothing(tmp_path: Path) -> None:
    testimony = witnessed(tmp_path, OBEDIENT, once_it_is_killed)
    assert testimony["report"] == ""
    assert testimony["stopped_at"] < testimony["halted_at"]["node1"]


def test_last_words_are_read_and_without_them_nothing_is_proved() -> None:
    ended_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert parse_witness_report(LAST_WORDS, ended_at) == WitnessReport(7, 2)
    with pytest.raises(LabError, match="ended at 03:04:05 UTC and its last words were: nothing"):
        parse_witness_report("", ended_at)
