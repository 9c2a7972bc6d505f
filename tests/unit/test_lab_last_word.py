"""The witness's last word: what was in clear until the end, what it missed, when it watched."""

from typing import Any

import pytest

from lab.errors import LabError
from lab.last_word import judge_last_word

REPORT = """tcpdump: listening on underlay, link-type EN10MB (Ethernet)
812 packets captured
812 packets received by filter
{dropped} packets dropped by kernel
"""


def witnessed(dropped: int = 0, **changes: Any) -> dict[str, Any]:
    times = {
        "started_at": 10.0,
        "stopped_at": 99.0,
        "booted_at": {"central": 11.0, "node1": 12.0},
        "halted_at": {"central": 90.0, "node1": 98.0},
    }
    return {"report": REPORT.format(dropped=dropped)} | times | changes


def test_two_controls_and_nothing_else_is_fine() -> None:
    assert judge_last_word(witnessed(), 2, controls=2) == []


def test_a_frame_that_left_after_the_last_count_is_told() -> None:
    assert "3 Geneve frames" in judge_last_word(witnessed(), 3, controls=2)[0]


def test_a_control_that_was_counted_and_is_gone_is_told() -> None:
    assert judge_last_word(witnessed(), 1, controls=2) != []


def test_what_the_witness_missed_is_told() -> None:
    assert "missed 4 frames" in judge_last_word(witnessed(dropped=4), 2, controls=2)[0]


def test_a_witness_that_does_not_say_what_it_missed_is_an_error() -> None:
    with pytest.raises(LabError):
        judge_last_word(witnessed(report="terminated"), 2, controls=2)


def test_it_watches_from_before_the_first_boot_until_after_the_last_halt() -> None:
    late = witnessed(started_at=11.5)
    early = witnessed(stopped_at=97.0)
    assert judge_last_word(late, 2, controls=2) == ["a guest booted before the witness watched"]
    assert "before the last guest had halted" in judge_last_word(early, 2, controls=2)[0]
