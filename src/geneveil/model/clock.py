"""Time comes in as an argument.

Pure code takes an aware UTC `datetime`; loops take a `Clock`, so that a test can move it.
"""

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the time: aware, UTC, whole seconds."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC).replace(microsecond=0)
