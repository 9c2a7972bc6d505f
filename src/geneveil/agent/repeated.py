"""Log lines about what repeats: the first at once, then one with a count now and then. Pure."""

LINE_SECONDS = 10.0


class Repeated:
    """One kind of event. Times are of a clock that only goes forward."""

    def __init__(self) -> None:
        self._said_at: float | None = None
        self._held = 0

    def add(self, now_seconds: float) -> int:
        """One more; of how many to speak now, 0 if it can wait."""
        self._held += 1
        return self.due(now_seconds)

    def due(self, now_seconds: float) -> int:
        """How many were held back and are to be spoken of now."""
        if self._said_at is not None and now_seconds - self._said_at < LINE_SECONDS:
            return 0
        held, self._held = self._held, 0
        if held:
            self._said_at = now_seconds
        return held
