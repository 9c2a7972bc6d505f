"""Calendar arithmetic."""

from datetime import UTC, datetime, timedelta

import pytest

from geneveil.model.cluster import CalendarSpan, parse_span
from geneveil.pki.spans import add_span, is_shorter


@pytest.mark.parametrize(
    ("start", "span", "end"),
    [
        ("2026-11-23", "10y", "2036-11-23"),
        ("2026-11-23", "5y", "2031-11-23"),
        ("2026-11-23", "54mo", "2031-05-23"),
        ("2024-02-29", "1y", "2025-02-28"),
        ("2024-02-29", "4y", "2028-02-29"),
        ("2096-02-29", "4y", "2100-02-28"),
        ("2026-08-31", "6mo", "2027-02-28"),
        ("2027-08-31", "6mo", "2028-02-29"),
        ("2026-12-31", "1mo", "2027-01-31"),
        ("2026-11-30", "1mo1d", "2026-12-31"),
        ("2026-02-28", "2d", "2026-03-02"),
    ],
)
def test_add_span(start: str, span: str, end: str) -> None:
    time = timedelta(hours=13, minutes=7, seconds=59)
    at = datetime.fromisoformat(start).replace(tzinfo=UTC) + time
    expected = datetime.fromisoformat(end).replace(tzinfo=UTC) + time
    assert add_span(at, parse_span(span)) == expected


def test_add_span_past_the_year_9999() -> None:
    with pytest.raises(OverflowError):
        add_span(datetime(2026, 1, 1, tzinfo=UTC), CalendarSpan(12 * 9000))


@pytest.mark.parametrize(
    ("span", "other", "answer"),
    [
        ("54mo", "5y", True),
        ("5y", "60mo", False),
        ("5y", "54mo", False),
        ("28d", "1mo", False),
        ("27d", "1mo", True),
        ("31d", "1mo", False),
        ("365d", "1y", False),
        ("1y", "366d", False),
        ("1y", "367d", True),
    ],
)
def test_is_shorter(span: str, other: str, answer: bool) -> None:
    assert is_shorter(parse_span(span), parse_span(other)) is answer


@pytest.mark.parametrize("text", ["", "0y", "10", "y", "1d1y", "-1y", "1.5y", "1Y", "٣y", "10y "])
def test_parse_span_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="is not a span"):
        parse_span(text)


@pytest.mark.parametrize("text", ["10y", "4y6mo", "30d", "1y2mo3d", "6mo"])
def test_spans_are_written_as_they_are_read(text: str) -> None:
    assert parse_span(text).years_text == text
