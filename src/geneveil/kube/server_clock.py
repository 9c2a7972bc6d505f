"""The API server's own clock, by the `Date` of its answers. Pure; time comes in.

What an API server stamped is as old as that very server says: its clock and ours may be years
apart, and each may be right. Only ever used for the age of what it stamped, never for whether a
certificate is valid: who asks for that asks the own clock.

Source: RFC 9110 §6.6.1 (Date), §5.6.7 (its forms).
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

SAME = timedelta(seconds=5)
"""Clocks that are so close count as one: a `Date` is in whole seconds, and on its way for some."""

_FIRST_YEAR, _LAST_YEAR = 2020, 2200
_MOST_CHARS = 40


def read_date(text: str) -> datetime | None:
    """The moment that a `Date` names; None for one that makes no sense, or is of no sane year."""
    if not text or len(text) > _MOST_CHARS:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


class ServerClock:
    """What the server's clock says now; several threads and clients may share one."""

    def __init__(self) -> None:
        # replaced whole, so that a thread never sees half of it
        self._seen: tuple[datetime, float] | None = None

    def note(self, date: str, at_seconds: float) -> None:
        """An answer came.

        Args:
            date: its header, or empty; what makes no sense is not noted.
            at_seconds: of a clock that nobody moves.
        """
        moment = read_date(date)
        if moment is not None:
            self._seen = moment, at_seconds

    def ahead_of(self, own: datetime, at_seconds: float) -> timedelta:
        """How far the server's clock is ahead of ours, `own`; zero while it is not known."""
        seen = self._seen
        if seen is None:
            return timedelta(0)
        moment, seen_at_seconds = seen
        ahead = moment + timedelta(seconds=at_seconds - seen_at_seconds) - own
        return timedelta(0) if abs(ahead) <= SAME else ahead
