"""When certificates are renewed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geneveil.model.cluster import CalendarSpan, parse_span
from geneveil.pki.renewal import MAX_JITTER, plan_renewal
from geneveil.pki.spans import add_span

BEGIN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
END = add_span(BEGIN, CalendarSpan(60))
POINT = datetime(2031, 5, 23, 12, 0, tzinfo=UTC)


def test_the_point_is_fifty_four_months_after_issue_within_fourteen_days() -> None:
    for number in range(200):
        due = plan_renewal(BEGIN, END, CalendarSpan(54), f"node-{number}")
        assert POINT <= due < POINT + MAX_JITTER


def test_the_answer_is_the_same_every_time_and_spread_over_nodes() -> None:
    dues = [plan_renewal(BEGIN, END, CalendarSpan(54), f"node-{n}") for n in range(200)]
    again = [plan_renewal(BEGIN, END, CalendarSpan(54), f"node-{n}") for n in range(200)]
    assert dues == again
    days = {(due - POINT).days for due in dues}
    assert days == set(range(14))


def test_one_answer_is_written_down() -> None:
    due = plan_renewal(BEGIN, END, CalendarSpan(54), "node-1")
    assert due == datetime(2031, 5, 30, 15, 39, 43, tzinfo=UTC)


@pytest.mark.parametrize(
    ("life", "renew"), [("2d", "1d"), ("30d", "29d"), ("5y", "59mo"), ("1y", "5y"), ("90d", "1d")]
)
@given(chassis=st.text(min_size=1, max_size=20))
def test_renewal_is_always_before_the_end(life: str, renew: str, chassis: str) -> None:
    end = add_span(BEGIN, parse_span(life))
    due = plan_renewal(BEGIN, end, parse_span(renew), chassis)
    assert BEGIN < due < end
    if add_span(BEGIN, parse_span(renew)) >= end:
        assert due - BEGIN >= (end - BEGIN) * 9 / 10 - timedelta(seconds=1)
