"""When a failure that repeats is written to the log. Pure.

At once when it is new or its text changed; while it stays the same, after ten seconds and then each
time twice as long, with how often it happened; and once more when it is over. Texts that differ
only in their digits are the same: many name the time.
"""

import re

FIRST_SECONDS = 10.0
CAP_SECONDS = 600.0


class FailureLines:
    """Remembers one kind of failure. Times are of a clock that only goes forward."""

    def __init__(self) -> None:
        self._kind = ""
        self._count = 0
        self._pause_seconds = FIRST_SECONDS
        self._next_seconds = 0.0

    def failed(self, text: str, now_seconds: float) -> int:
        """It failed again: how many failures to speak of now, 0 if it is not the time."""
        kind = re.sub(r"\d+", "0", text)
        if kind != self._kind:
            self._kind, self._count, self._pause_seconds = kind, 0, FIRST_SECONDS
            self._next_seconds = now_seconds
        self._count += 1
        if now_seconds < self._next_seconds:
            return 0
        self._next_seconds = now_seconds + self._pause_seconds
        self._pause_seconds = min(self._pause_seconds * 2, CAP_SECONDS)
        count, self._count = self._count, 0
        return count

    def succeeded(self) -> bool:
        """It went well: whether that is news."""
        was_failing = bool(self._kind)
        self._kind = ""
        return was_failing
