"""What nodes said last, and who is live. Memory only: the loop keeps a copy on the disk for people.

A node is live while it holds a watch, or was heard within `away_after_seconds` of a clock that
nobody moves. For as long after the operator's start everybody counts as live who may be: it cannot
know yet, and to take a live node for one that is away could cut it off.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from geneveil.enroll.port import WatchState
from geneveil.operator.records import Confirmation

AWAY_AFTER_SECONDS = 600.0
HOLD_SECONDS = 60.0
"""How long a watch is held at most."""

_HOLD = timedelta(seconds=HOLD_SECONDS)


@dataclass(frozen=True)
class LiveTerms:
    """How somebody who only reads the database tells who is live, as nearly as can be.

    Attributes:
        started_at: when the operator was started; None if that is not known.
    """

    away_after_seconds: float = AWAY_AFTER_SECONDS
    started_at: datetime | None = None

    def is_live(self, said: Confirmation | None, now: datetime) -> bool:
        """A node that holds a watch speaks once in a hold, so its last word may be that old."""
        away_after = timedelta(seconds=self.away_after_seconds)
        if self.started_at is not None and abs(now - self.started_at) < away_after:
            return True
        return said is not None and abs(now - said.seen_at) < away_after + _HOLD


class Confirmations:
    """The newest word of each node.

    Args:
        known: from an earlier run.
        started_at_seconds: of the clock that nobody moves.
    """

    def __init__(
        self,
        known: Iterable[Confirmation] = (),
        started_at_seconds: float = 0.0,
        away_after_seconds: float = AWAY_AFTER_SECONDS,
    ) -> None:
        self._newest = {confirmation.chassis: confirmation for confirmation in known}
        self._heard_at: dict[str, float] = {}
        self._held: Counter[str] = Counter()
        self._unwritten: set[str] = set()
        self._started_at = started_at_seconds
        self._away_after = away_after_seconds

    def note(self, chassis: str, state: WatchState, now: datetime, heard_at: float) -> None:
        """A node spoke."""
        self._newest[chassis] = Confirmation(chassis, state, now)
        self._heard_at[chassis] = heard_at
        self._unwritten.add(chassis)

    def hold(self, chassis: str) -> None:
        """A watch of the node is held from now on."""
        self._held[chassis] += 1

    def release(self, chassis: str, heard_at: float) -> None:
        """It is held no more."""
        self._held[chassis] -= 1
        if self._held[chassis] <= 0:
            del self._held[chassis]
        self._heard_at[chassis] = heard_at

    def find(self, chassis: str) -> Confirmation | None:
        """What it said last."""
        return self._newest.get(chassis)

    def serial_of(self, chassis: str) -> str:
        """The certificate that it says it uses; empty if it never said."""
        confirmation = self._newest.get(chassis)
        return confirmation.state.serial if confirmation else ""

    def is_live(self, chassis: str, at_seconds: float) -> bool:
        """It is heard, or it is too early to say that it is not."""
        if chassis in self._held or at_seconds - self._started_at < self._away_after:
            return True
        heard_at = self._heard_at.get(chassis)
        return heard_at is not None and at_seconds - heard_at < self._away_after

    @property
    def held_count(self) -> int:
        """How many watches are held."""
        return sum(self._held.values())

    def take_unwritten(self) -> tuple[Confirmation, ...]:
        """What was said since the last call, for the disk."""
        chassis, self._unwritten = self._unwritten, set()
        return tuple(self._newest[name] for name in sorted(chassis))
