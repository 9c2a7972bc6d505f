"""The table of a roll-over: each row, who holds it up, and that it always comes round."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from geneveil.model.cluster import CalendarSpan
from geneveil.pki.rollover import (
    RULES,
    AuthorityView,
    HolderView,
    Phase,
    RollOverView,
    decide_phase,
    plan_rotation,
    plan_wave,
)
from geneveil.pki.spans import add_span, is_shorter, subtract_span

NOW = datetime(2031, 8, 20, 12, 0, tzinfo=UTC)
TEN_YEARS, FIVE_YEARS = CalendarSpan(120), CalendarSpan(60)
OLD = AuthorityView(1, datetime(2026, 11, 23, tzinfo=UTC), datetime(2036, 11, 23, tzinfo=UTC))
NEW = AuthorityView(2, NOW, NOW + timedelta(days=3650))
READY = HolderView("node-1", True, frozenset({1, 2}), 2, frozenset({2}))
FRESH = HolderView("node-1", True, frozenset(), 0, frozenset({1}))


def view(phase: Phase, *holders: HolderView, **changes: object) -> RollOverView:
    authorities = (OLD,) if phase is Phase.STEADY else (OLD, NEW)
    made = RollOverView(
        phase=phase,
        authorities=authorities,
        holders=holders,
        unspent_tokens=0,
        rotate_at=NOW + timedelta(days=1),
        is_requested=False,
        now=NOW,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


Case = tuple[RollOverView, Phase, tuple[str, ...]]
CASES: dict[str, Case] = {
    "steady": (view(Phase.STEADY), Phase.STEADY, ("",)),
    "asked for": (view(Phase.STEADY, is_requested=True), Phase.INTRODUCE, ()),
    "its time": (view(Phase.STEADY, rotate_at=NOW), Phase.INTRODUCE, ()),
    "nobody": (view(Phase.INTRODUCE), Phase.SWITCH, ()),
    "silent": (view(Phase.INTRODUCE, FRESH), Phase.INTRODUCE, ("node-1",)),
    "trusts the old one alone": (
        view(Phase.INTRODUCE, replace(FRESH, trusts=frozenset({1}))),
        Phase.INTRODUCE,
        ("node-1",),
    ),
    "trusts the new one alone": (
        view(Phase.INTRODUCE, replace(FRESH, trusts=frozenset({2}))),
        Phase.INTRODUCE,
        ("node-1",),
    ),
    "away does not block": (
        view(Phase.INTRODUCE, READY, replace(FRESH, is_live=False)),
        Phase.SWITCH,
        (),
    ),
    "uses the old one": (
        view(Phase.SWITCH, READY, replace(READY, chassis="node-2", uses=1)),
        Phase.SWITCH,
        ("node-2",),
    ),
    "all use the new one": (view(Phase.SWITCH, READY), Phase.RETIRE, ()),
    "away in the wave": (view(Phase.SWITCH, replace(FRESH, is_live=False)), Phase.RETIRE, ()),
    "away holds the old one": (
        view(Phase.RETIRE, READY, replace(FRESH, is_live=False, chassis="away")),
        Phase.RETIRE,
        ("away",),
    ),
    "the old one is in use": (
        view(Phase.RETIRE, replace(READY, holds=frozenset({1, 2}))),
        Phase.RETIRE,
        ("node-1",),
    ),
    "a token names the old one": (view(Phase.RETIRE, unspent_tokens=1), Phase.RETIRE, ("",)),
    "nothing is left": (view(Phase.RETIRE, READY), Phase.STEADY, ()),
}


@pytest.mark.parametrize("case", CASES)
def test_decisions(case: str) -> None:
    asked, phase, missing = CASES[case]
    verdict = decide_phase(asked)
    assert verdict.phase is phase
    assert tuple(one.chassis for one in verdict.missing) == missing
    assert bool(verdict.reason) is (phase is not asked.phase)
    assert all(one.why for one in verdict.missing)


@pytest.mark.parametrize("phase", [Phase.INTRODUCE, Phase.SWITCH, Phase.RETIRE])
def test_when_the_old_one_has_ended_nothing_is_waited_for(phase: Phase) -> None:
    asked = view(phase, FRESH, now=OLD.not_after, unspent_tokens=3)
    assert decide_phase(asked).phase is RULES[phase].following


def test_the_table_goes_round_once() -> None:
    phases, phase = [], Phase.STEADY
    for _ in Phase:
        phases.append(phase)
        phase = RULES[phase].following
    assert phase is Phase.STEADY
    assert set(phases) == set(Phase)


HOLDERS = st.builds(
    HolderView,
    st.sampled_from(["a", "b", "c"]),
    st.booleans(),
    st.frozensets(st.sampled_from([1, 2])),
    st.sampled_from([0, 1, 2]),
    st.frozensets(st.sampled_from([1, 2])),
)


@given(st.sampled_from(list(Phase)), st.lists(HOLDERS, max_size=4), st.integers(0, 2))
def test_no_live_node_is_ever_left_behind(
    phase: Phase, holders: list[HolderView], tokens: int
) -> None:
    verdict = decide_phase(view(phase, *holders, unspent_tokens=tokens))
    if verdict.phase is phase:
        assert verdict.missing
        return
    live = [holder for holder in holders if holder.is_live]
    if phase is Phase.INTRODUCE:
        assert all({1, 2} <= holder.trusts for holder in live)
    if phase is Phase.SWITCH:
        assert all(holder.uses == 2 for holder in live)
    if phase is Phase.RETIRE:
        assert not any(1 in holder.holds for holder in holders)


def test_with_the_default_figures_it_begins_before_the_middle() -> None:
    at = plan_rotation(OLD.not_before, OLD.not_after, FIVE_YEARS, None)
    assert at == datetime(2031, 11, 23, tzinfo=UTC) - timedelta(days=90)
    assert add_span(at, FIVE_YEARS) < OLD.not_after


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (CalendarSpan(12), datetime(2027, 11, 23, tzinfo=UTC)),
        (CalendarSpan(108), datetime(2031, 11, 23, tzinfo=UTC)),  # never too late
    ],
)
def test_as_configured(after: CalendarSpan, expected: datetime) -> None:
    assert plan_rotation(OLD.not_before, OLD.not_after, FIVE_YEARS, after) == expected


SPANS = st.builds(CalendarSpan, st.integers(0, 119), st.integers(0, 40))
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2080, 1, 1), timezones=st.just(UTC))


@given(TIMES, SPANS, st.none() | SPANS)
def test_until_the_rotation_no_certificate_is_cut_short(
    begin: datetime, node: CalendarSpan, wish: CalendarSpan | None
) -> None:
    assume(is_shorter(node, TEN_YEARS))  # what `operator init` asks for
    end = add_span(begin, TEN_YEARS)
    at = plan_rotation(begin, end, node, wish)
    assert begin <= at
    assert add_span(at, node) <= end


@given(TIMES, SPANS)
def test_a_span_that_was_subtracted_never_ends_too_late(at: datetime, span: CalendarSpan) -> None:
    start = subtract_span(at, span)
    assert add_span(start, span) <= at
    assert add_span(start + timedelta(days=4), span) > at


def test_waves() -> None:
    wave = timedelta(hours=6)
    assert plan_wave(NOW, wave, 0.0) == NOW
    assert plan_wave(NOW, wave, 0.5) == NOW + timedelta(hours=3)
