"""What the API server's clock says: its `Date`, within bounds."""

from datetime import UTC, datetime, timedelta

import pytest

from geneveil.kube.server_clock import SAME, ServerClock, read_date

THEN = datetime(2026, 5, 1, 12, tzinfo=UTC)
DATE = "Fri, 01 May 2026 12:00:00 GMT"

DATES: dict[str, datetime | None] = {
    DATE: THEN,
    "Friday, 01-May-26 12:00:00 GMT": THEN,
    "Fri, 01 May 2026 14:00:00 +0200": THEN,
    "": None,
    "soon": None,
    "Thu, 01 Jan 1970 00:00:00 GMT": None,
    "Fri, 31 Dec 9999 23:59:59 GMT": None,
    "Fri, 99 May 2026 12:00:00 GMT": None,
    "Fri, 01 May 2026 12:00:00 GMT" + " " * 100_000: None,
}


@pytest.mark.parametrize("text", DATES, ids=lambda text: text[:40] or "empty")
def test_a_date_is_read_or_is_none(text: str) -> None:
    assert read_date(text) == DATES[text]


def test_a_clock_that_nobody_read_is_not_ahead() -> None:
    clock = ServerClock()
    assert clock.ahead_of(THEN, 5.0) == timedelta(0)
    clock.note("soon", 5.0)
    assert clock.ahead_of(THEN, 5.0) == timedelta(0)


@pytest.mark.parametrize("days", [-3650, -1, 1, 3650])
def test_it_goes_on_with_the_clock_that_nobody_moves(days: int) -> None:
    clock, ahead = ServerClock(), timedelta(days=days)
    clock.note(DATE, 100.0)
    clock.note("nonsense", 130.0)
    assert clock.ahead_of(THEN - ahead + timedelta(seconds=60), 160.0) == ahead


@pytest.mark.parametrize("seconds", [-1, 0, 1])
def test_a_few_seconds_are_nothing(seconds: int) -> None:
    clock = ServerClock()
    clock.note(DATE, 100.0)
    own = THEN + seconds * SAME
    assert clock.ahead_of(own, 100.0) == timedelta(0)


def test_the_last_answer_counts() -> None:
    clock = ServerClock()
    clock.note("Fri, 01 May 2036 12:00:00 GMT", 1.0)
    clock.note(DATE, 2.0)
    assert clock.ahead_of(THEN, 2.0) == timedelta(0)
