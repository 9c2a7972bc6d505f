"""How far a build is, and how long it will still take."""

import pytest

from lab.build.meter import Meter, Step, expected_from

STEPS = (Step("fetch", 10), Step("compile", 100), Step("try", 5))


def test_before_it_begins_all_is_left() -> None:
    meter = Meter(STEPS, now=0)
    assert meter.left_seconds(0) == 115
    assert meter.fraction(0) == 0


def test_a_step_without_counting_runs_down_its_expected_time() -> None:
    meter = Meter(STEPS, now=0)
    meter.begin("fetch", 0)
    assert meter.left_seconds(4) == 6 + 105
    assert meter.fraction(4) == pytest.approx(4 / 115)
    assert meter.left_seconds(50) == pytest.approx(105, abs=1)


def test_a_counting_step_follows_its_own_pace() -> None:
    meter = Meter(STEPS, now=0)
    meter.begin("fetch", 0)
    meter.begin("compile", 10)
    meter.count(0.05)
    assert meter.left_seconds(15) == 95 + 5  # too early to trust the pace
    meter.count(0.5)
    assert meter.left_seconds(110) == 100 + 5  # 100 s for one half, so 100 s for the other
    meter.count(0.4)
    assert meter.left_seconds(110) == 105  # never backwards


def test_durations_of_the_steps_are_kept() -> None:
    meter = Meter(STEPS, now=0)
    for name, at in (("fetch", 0), ("compile", 8), ("try", 90)):
        meter.begin(name, at)
    assert meter.number == "3/3"
    meter.finish(91)
    assert meter.seconds == {"fetch": 8, "compile": 82, "try": 1}
    assert meter.left_seconds(95) == 0
    assert meter.fraction(95) == 1
    assert meter.spent_seconds(95) == 91


def test_steps_only_go_forward() -> None:
    meter = Meter(STEPS, now=0)
    meter.begin("compile", 0)
    with pytest.raises(ValueError, match="fetch"):
        meter.begin("fetch", 1)


def test_the_last_durations_are_the_next_expectations() -> None:
    steps = expected_from(STEPS, {"compile": 240.5, "gone": 3})
    assert [step.expected_seconds for step in steps] == [10, 240.5, 5]
