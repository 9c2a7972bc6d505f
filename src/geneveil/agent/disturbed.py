"""Somebody removed or altered the guard: counted, and said for long enough to be seen. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum

from geneveil.model.health import Finding, Severity

SEEN_FOR_SECONDS = 600.0
"""The guard is back within a second, too short for anybody to notice: it is said until it has stood
untouched for this long."""

EXACT_UP_TO = 3
"""Beyond this the finding tells only when the count has doubled, so that a fight over the guard
does not fill the log: each text that differs is a line. The exact count is in the status."""


class Disturbance(Enum):
    """What was found; the value is the finding's code."""

    MISSING = "guard-missing"
    ALTERED = "guard-altered"


@dataclass(frozen=True)
class Record:
    """How often a disturbance was seen, and the latest one.

    Attributes:
        culprit: the process that did it, or empty if nobody knows.
        at_seconds: of a clock that only goes forward.
    """

    count: int
    culprit: str
    at: datetime
    at_seconds: float


@dataclass(frozen=True)
class History:
    """Every disturbance in this agent's life."""

    records: Mapping[Disturbance, Record] = field(default_factory=dict)

    def with_another(
        self, kind: Disturbance, culprit: str, at: datetime, at_seconds: float
    ) -> "History":
        """This, and one more."""
        before = self.records.get(kind)
        count = before.count + 1 if before else 1
        return History({**self.records, kind: Record(count, culprit, at, at_seconds)})

    @property
    def count(self) -> int:
        """Of every kind."""
        return sum(record.count for record in self.records.values())

    @property
    def latest_at(self) -> datetime | None:
        """When the latest was seen, UTC."""
        return max((record.at for record in self.records.values()), default=None)


def judge_disturbances(history: History, now_seconds: float) -> list[Finding]:
    """An error for each kind that was seen in the last ten minutes."""
    return [
        Finding(
            kind.value,
            Severity.ERROR,
            "guard",
            _words(kind, record),
            "find out what changes nftables on this node (flush ruleset?) and leave the table "
            "inet geneveil alone",
        )
        for kind, record in history.records.items()
        if now_seconds - record.at_seconds < SEEN_FOR_SECONDS
    ]


def _words(kind: Disturbance, record: Record) -> str:
    deed = "removed" if kind is Disturbance.MISSING else "altered"
    who = f" by {record.culprit}" if record.culprit else ""
    at = record.at.astimezone(UTC)
    if record.count == 1:
        return f"it was {deed}{who} at {at:%H:%M:%SZ}, and put back"
    if record.count <= EXACT_UP_TO:
        return (
            f"it was {deed} {record.count} times, last{who} at {at:%H:%M:%SZ}, and put back each "
            "time"
        )
    sure = EXACT_UP_TO << ((record.count - 1) // EXACT_UP_TO).bit_length() - 1
    return f"it was {deed} more than {sure} times, and put back"
