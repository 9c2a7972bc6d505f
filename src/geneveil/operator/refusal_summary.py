"""How much of the log those can fill who have proved nothing. Pure; the time is an argument.

Whoever reaches the port can be refused as often as they like. So a refusal without a proved token
or certificate is an entry only if it is the first of its reason and address in a minute; the rest
are counted, and the count is an entry of the next minute. Beyond `MOST_PAIRS` pairs in a minute
all others share one such place. That bounds a minute to `MOST_PAIRS` + 1 entries.

What is counted lives in memory: a kill loses the counts of one minute, never an entry.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from geneveil.operator.audit import TIME_FORMAT, AuditEvent, Event

MOST_PAIRS = 20
_MINUTE_SECONDS = 60
_Pair = tuple[str, str]
_OTHERS: _Pair = ("", "")


@dataclass
class _Place:
    event: AuditEvent
    uncounted: int = 0


class RefusalSummary:
    """Remembers one minute."""

    def __init__(self) -> None:
        self._minute = 0
        self._places: dict[_Pair, _Place] = {}

    def note(self, event: AuditEvent, now: datetime) -> tuple[AuditEvent, ...]:
        """Take one refusal, and say what is to be written to the log now."""
        counts = self.take_counts(now)
        pair = (event.reason, event.remote)
        if pair not in self._places and len(self._places.keys() - {_OTHERS}) >= MOST_PAIRS:
            pair = _OTHERS
            event = AuditEvent(
                Event.REFUSED,
                detail=f"more than {MOST_PAIRS} addresses and reasons in a minute; "
                f"the rest are counted together, first {event.remote}: {event.reason}",
            )
        place = self._places.get(pair)
        if place is not None:
            place.uncounted += 1
            return counts
        self._places[pair] = _Place(event)
        return (*counts, event)

    def take_counts(self, now: datetime, is_end: bool = False) -> tuple[AuditEvent, ...]:
        """What was counted in a minute that is over.

        Args:
            is_end: the operator stops; take the running minute too.
        """
        minute = int(now.timestamp()) // _MINUTE_SECONDS
        if minute == self._minute and not is_end:
            return ()
        began = datetime.fromtimestamp(self._minute * _MINUTE_SECONDS, UTC).strftime(TIME_FORMAT)
        told = {pair: place for pair, place in self._places.items() if place.uncounted}
        # a count is the entry of its pair in the minute in which it is written
        self._minute = minute
        self._places = {pair: _Place(place.event) for pair, place in told.items()}
        return tuple(
            replace(place.event, detail=f"and {place.uncounted} more in the minute from {began}")
            for place in told.values()
        )
