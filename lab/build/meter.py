"""How far a build is and how long it will still take.

Pure: time comes in as seconds of a clock that only moves forward. The estimate starts from what
each step took the last time (or a stated default) and follows the real pace once a step counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

# Below this share a pace says more about the start of a step than about the step.
_PACE_TRUSTED_FROM = 0.1
_LEAST_SECONDS = 0.5


@dataclass(frozen=True)
class Step:
    """One part of a build: its name for people and how long it is expected to take."""

    name: str
    expected_seconds: float


def expected_from(steps: tuple[Step, ...], last: Mapping[str, float]) -> tuple[Step, ...]:
    """The same steps, with the durations recorded at the last build where there are any."""
    return tuple(
        replace(step, expected_seconds=last.get(step.name, step.expected_seconds)) for step in steps
    )


class Meter:
    """Where one build is. Written by the thread that builds, read by the one that draws."""

    def __init__(self, steps: tuple[Step, ...], now: float) -> None:
        self._steps = steps
        self._index = -1
        self._since = now
        self._counted: float | None = None
        self.seconds: dict[str, float] = {}

    @property
    def step(self) -> str:
        """Name of the step under way; empty before the first."""
        return self._steps[self._index].name if self._index >= 0 else ""

    @property
    def number(self) -> str:
        """The step under way of how many, as people read it: 2/5."""
        return f"{max(self._index + 1, 1)}/{len(self._steps)}"

    def begin(self, name: str, now: float) -> None:
        """A step begins, and with it the one before has ended. Steps only go forward."""
        self._close(now)
        names = [step.name for step in self._steps]
        self._index = names.index(name, self._index + 1)
        self._since = now
        self._counted = None

    def count(self, fraction: float) -> None:
        """The step under way has counted this share of its work (0 to 1)."""
        self._counted = min(max(fraction, self._counted or 0.0), 1.0)

    def finish(self, now: float) -> None:
        """The last step has ended."""
        self._close(now)
        self._index = len(self._steps) - 1
        self._counted = 1.0

    def spent_seconds(self, now: float) -> float:
        """Seconds since the first step began."""
        ended = sum(self.seconds.values())
        under_way = self._index >= 0 and self.step not in self.seconds
        return ended + (now - self._since if under_way else 0.0)

    def left_seconds(self, now: float) -> float:
        """Seconds until the last step ends, as far as can be told."""
        later = sum(step.expected_seconds for step in self._steps[self._index + 1 :])
        return later + self._step_left_seconds(now)

    def fraction(self, now: float) -> float:
        """Share of the whole that is done, by time."""
        done = self.spent_seconds(now)
        return done / (done + self.left_seconds(now)) if done else 0.0

    def _step_left_seconds(self, now: float) -> float:
        if self._index < 0 or self._counted == 1.0:
            return 0.0
        expected = self._steps[self._index].expected_seconds
        spent = now - self._since
        if self._counted is not None and self._counted >= _PACE_TRUSTED_FROM:
            return spent / self._counted * (1 - self._counted)
        if self._counted is not None:
            return expected * (1 - self._counted)
        return max(expected - spent, _LEAST_SECONDS)

    def _close(self, now: float) -> None:
        if self._index >= 0:
            self.seconds.setdefault(self.step, round(now - self._since, 1))
