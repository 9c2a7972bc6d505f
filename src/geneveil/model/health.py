"""Health as named values: what is wrong, since when, and what to do about it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Severity(Enum):
    """ERROR: traffic is stopped or a promise broken. WARNING: it will be. INFO: worth knowing."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong at this moment.

    Attributes:
        code: a stable word for machines, such as `tunnel-without-name`.
        subject: whom it concerns: a tunnel, a peer, a file, a daemon.
        what: one clause for a person.
        remedy: what to do; may be empty.
    """

    code: str
    severity: Severity
    subject: str
    what: str
    remedy: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same finding from one turn to the next."""
        return (self.code, self.subject)


@dataclass(frozen=True)
class HealthValue:
    """A finding and the moment when it first appeared in this agent's life (UTC)."""

    finding: Finding
    since: datetime


def carry_since(
    previous: Iterable[HealthValue], findings: Iterable[Finding], now: datetime
) -> tuple[HealthValue, ...]:
    """Give each finding its beginning: that of the same finding before, or now.

    Returns:
        One value a finding key (the first wins), worst first, then by code and subject.
    """
    began: Mapping[tuple[str, str], datetime] = {v.finding.key: v.since for v in previous}
    values: dict[tuple[str, str], HealthValue] = {}
    for finding in findings:
        values.setdefault(finding.key, HealthValue(finding, began.get(finding.key, now)))
    order = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}
    return tuple(sorted(values.values(), key=lambda v: (order[v.finding.severity], v.finding.key)))
