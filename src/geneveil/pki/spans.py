"""Calendar arithmetic: what "in 54 months" means.

Rule: months count first and keep the day of the month, or the last day of a month that is too
short (29 February plus a year is 28 February); days of 24 hours count after that.
"""

import calendar
from datetime import datetime, timedelta

from geneveil.model.cluster import CalendarSpan

_REFERENCE_YEARS = range(2024, 2028)


def add_span(at: datetime, span: CalendarSpan) -> datetime:
    """Add a calendar span to a point in time; the time of day stays.

    Raises:
        OverflowError: the result is after the year 9999, which X.509 cannot say either.
    """
    months = at.month - 1 + span.months
    year, month = at.year + months // 12, months % 12 + 1
    if year > 9999:
        raise OverflowError(f"{at.date()} plus {span.years_text} is after the year 9999")
    day = min(at.day, calendar.monthrange(year, month)[1])
    return at.replace(year=year, month=month, day=day) + timedelta(days=span.days)


def subtract_span(at: datetime, span: CalendarSpan) -> datetime:
    """The latest point from which the span has ended at `at`, to the month's rule; the time of
    day stays. A span begun then never ends after `at`.
    """
    start = add_span(at, CalendarSpan(-span.months, -span.days))
    while add_span(start, span) > at:  # months are not equally long
        start -= timedelta(days=1)
    return start


def add_spans(span: CalendarSpan, other: CalendarSpan) -> CalendarSpan:
    """One span after the other."""
    return CalendarSpan(span.months + other.months, span.days + other.days)


def is_shorter(span: CalendarSpan, other: CalendarSpan) -> bool:
    """Say whether one span ends before the other whenever both start together.

    A month has 28 to 31 days, so `30d` is neither shorter nor longer than `1mo`: then the answer
    is no. Tried on the first day of every month of four years, one of them a leap year.
    """
    starts = (datetime(year, month, 1) for year in _REFERENCE_YEARS for month in range(1, 13))
    return all(add_span(start, span) < add_span(start, other) for start in starts)
