"""Whether the operator's clock is believed with what cannot be undone. Pure.

An authority that has ended is dropped and its key destroyed; a clock that some broken time server
set ten years on would have that done within a second, and every node, its certificate good again
once the clock is right, would be without a cluster. So a clock that leapt is believed only after it
has stood by it for a day of time that was lived through, or when a person asks for the roll-over.
Until then nothing about authorities changes; everything that can be made anew goes on.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from geneveil.pki.rollover import Phase

LEAP = timedelta(days=300)
"""No machine sleeps that long. A shorter leap cannot end what is not near its end anyway: a
roll-over begins a node's lifetime before the authority's end."""

BELIEVED_AFTER_SECONDS = 24 * 3600.0
"""Long enough for a person to see it and set the clock right."""


@dataclass(frozen=True)
class Pace:
    """The latest moment that was believed, by both clocks.

    Attributes:
        at: of the clock that can be set.
        at_seconds: of the clock that nobody moves.
        leapt_at_seconds: when the first ran away from the second; None while it has not.
    """

    at: datetime
    at_seconds: float
    leapt_at_seconds: float | None = None

    @property
    def is_suspect(self) -> bool:
        return self.leapt_at_seconds is not None


NOTED_EVERY = timedelta(days=1)
"""How often the latest moment that was believed is kept for the next start."""


def first_pace(
    phase: Phase,
    rotate_at: datetime,
    now: datetime,
    at_seconds: float,
    noted_at: datetime | None = None,
) -> Pace:
    """What to begin with.

    Args:
        noted_at: the latest moment that was believed before, if that was kept; an operator that was
            off for longer than `LEAP` lives through a day, or asks a person. Without it nobody
            knows when the operator ran last; but had the authority's time come while it ran it
            would have begun a roll-over.
    """
    at = min(now, rotate_at) if phase is Phase.STEADY else now
    return Pace(min(at, noted_at) if noted_at else at, at_seconds)


def is_leap(noted_at: datetime, now: datetime) -> bool:
    """Whether an operator that keeps its mark up to date does not believe this time."""
    return now - noted_at > LEAP + NOTED_EVERY


def is_to_be_noted(pace: Pace, noted_at: datetime | None) -> bool:
    """Whether to keep the latest moment that is believed: also when it is an earlier one."""
    if pace.is_suspect:
        return False
    return noted_at is None or not noted_at <= pace.at < noted_at + NOTED_EVERY


def follow(pace: Pace, now: datetime, at_seconds: float) -> Pace:
    """Look at both clocks once more.

    Fails closed: yes; a suspicion ends when the clock comes back or after a day, not by a look.
    """
    lived = timedelta(seconds=at_seconds - pace.at_seconds)
    if now - pace.at - lived <= LEAP:
        return Pace(now, at_seconds)
    since = at_seconds if pace.leapt_at_seconds is None else pace.leapt_at_seconds
    if at_seconds - since >= BELIEVED_AFTER_SECONDS:
        return Pace(now, at_seconds)
    return replace(pace, leapt_at_seconds=since)
