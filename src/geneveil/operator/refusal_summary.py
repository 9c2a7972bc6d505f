"""How much of the log others can fill. Pure; the time is an argument.

Whoever reaches the port can be refused as often as they like, and a node that is shut out, or one
that repeats what was answered already, too. So such an answer is an entry only if it is the first
of its kind in a window of time; the rest are counted, and the count is an entry of the next window.
Beyond so many kinds in a window all others share one such place. That bounds a window to `most` + 1
entries.

    whose        kind                window      most kinds
    unproved     reason and address  a minute    20
    proved       reason and chassis  ten minutes 1,000

What is counted lives in memory: a kill loses the counts of one window, never an entry.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from geneveil.operator.audit import TIME_FORMAT, AuditEvent, Event

_Kind = tuple[str, str, str]
_OTHERS: _Kind = ("", "", "")


@dataclass(frozen=True)
class Bounds:
    """How long a window is, and how many kinds have places of their own in it."""

    window: timedelta
    most: int


UNPROVED = Bounds(timedelta(minutes=1), 20)
PROVED = Bounds(timedelta(minutes=10), 1000)


@dataclass
class _Place:
    event: AuditEvent
    uncounted: int = 0


class RefusalSummary:
    """Remembers one window."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._window = 0
        self._places: dict[_Kind, _Place] = {}

    def note(self, event: AuditEvent, now: datetime) -> tuple[AuditEvent, ...]:
        """Take one answer, and say what is to be written to the log now."""
        counts, most = self.take_counts(now), self._bounds.most
        kind = (event.event.value, event.reason, event.chassis or event.remote)
        if kind not in self._places and len(self._places.keys() - {_OTHERS}) >= most:
            kind = _OTHERS
            event = AuditEvent(
                Event.REFUSED,
                detail=f"more than {most} kinds in {self._text}; the rest are counted together, "
                f"first {event.chassis or event.remote}: {event.reason or event.event.value}",
            )
        place = self._places.get(kind)
        if place is not None:
            place.uncounted += 1
            return counts
        self._places[kind] = _Place(event)
        return (*counts, event)

    def take_counts(self, now: datetime, is_end: bool = False) -> tuple[AuditEvent, ...]:
        """What was counted in a window that is over.

        Args:
            is_end: the operator stops; take the running window too.
        """
        seconds = int(self._bounds.window.total_seconds())
        window = int(now.timestamp()) // seconds
        if window == self._window and not is_end:
            return ()
        began = datetime.fromtimestamp(self._window * seconds, UTC).strftime(TIME_FORMAT)
        told = {kind: place for kind, place in self._places.items() if place.uncounted}
        # a count is the entry of its kind in the window in which it is written
        self._window = window
        self._places = {kind: _Place(place.event) for kind, place in told.items()}
        return tuple(
            replace(
                place.event,
                detail=f"and {place.uncounted} more in {self._text} from {began}",
            )
            for place in told.values()
        )

    @property
    def _text(self) -> str:
        minutes = int(self._bounds.window.total_seconds()) // 60
        return "the minute" if minutes == 1 else f"the {minutes} minutes"
