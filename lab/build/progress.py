"""Shows people how far the builds are: bars in a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from lab.build.meter import Meter

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_REDRAWS_A_SECOND = 4
_SECONDS_BETWEEN_LINES = 30


class Reporter(Protocol):
    """Is told what the builds do. All calls may come from several threads."""

    def begin(self, kind: str, title: str, meter: Meter) -> None:
        """A build begins; the meter tells its state from now on."""

    def moved(self, kind: str) -> None:
        """A build has begun its next step, or counted more of the one under way."""

    def end(self, kind: str, how: str) -> None:
        """A build is over: built, failed or stopped."""

    def say(self, text: str) -> None:
        """Something that people should know."""


class Silent:
    """For callers that show progress in their own way, or not at all."""

    def begin(self, kind: str, title: str, meter: Meter) -> None: ...
    def moved(self, kind: str) -> None: ...
    def end(self, kind: str, how: str) -> None: ...
    def say(self, text: str) -> None: ...


class PlainLines:
    """A line for each step, and now and then within a long one; for logs and CI."""

    def __init__(self) -> None:
        self._meters: dict[str, Meter] = {}
        self._told: dict[str, tuple[str, float]] = {}

    def begin(self, kind: str, title: str, meter: Meter) -> None:
        self._meters[kind] = meter
        left = clock(meter.left_seconds(time.monotonic()))
        self.say(f"building the {title}, about {left}")

    def moved(self, kind: str) -> None:
        meter = self._meters[kind]
        step, at = self._told.get(kind, ("", 0.0))
        now = time.monotonic()
        if step == meter.step and now - at < _SECONDS_BETWEEN_LINES:
            return
        self._told[kind] = (meter.step, now)
        left = clock(meter.left_seconds(time.monotonic()))
        self.say(f"{kind} {meter.number}: {meter.step}, about {left} left")

    def end(self, kind: str, how: str) -> None:
        seconds = self._meters[kind].spent_seconds(time.monotonic())
        self.say(f"{kind}: {how} after {clock(seconds)}")

    def say(self, text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


class Bars:
    """A bar for each build, redrawn on its own."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def begin(self, kind: str, title: str, meter: Meter) -> None:
        self._tasks[kind] = self._progress.add_task(
            title, total=1.0, meter=meter, over="", done=None
        )

    def moved(self, kind: str) -> None:
        """The bars look at the meter on their own."""

    def end(self, kind: str, how: str) -> None:
        task = self._tasks[kind]
        meter: Meter = self._progress.tasks[self._progress.task_ids.index(task)].fields["meter"]
        took = clock(meter.spent_seconds(time.monotonic()))
        done = 1.0 if how == "built" else meter.fraction(time.monotonic())
        self._progress.update(task, over=f"{how} after {took}", done=done)

    def say(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)


@contextmanager
def shown() -> Iterator[Reporter]:
    """A reporter fit for where standard error goes."""
    if not sys.stderr.isatty():
        yield PlainLines()
        return
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(
        *_columns(), console=Console(stderr=True), refresh_per_second=_REDRAWS_A_SECOND
    )
    with progress:
        yield Bars(progress)


def clock(seconds: float) -> str:
    """Seconds as people read them: 7 s, 3 min 20 s."""
    whole = max(round(seconds), 1)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02} s"


def _columns() -> list[Any]:
    from rich.progress import ProgressColumn, Task
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    class Title(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.description:<22}", style="bold")

    class Bar(ProgressColumn):
        max_refresh = None

        def render(self, task: Task) -> ProgressBar:
            meter: Meter = task.fields["meter"]
            done: float | None = task.fields["done"]
            fraction = meter.fraction(time.monotonic()) if done is None else done
            return ProgressBar(total=1.0, completed=fraction, width=24)

    class State(ProgressColumn):
        def render(self, task: Task) -> Text:
            meter: Meter = task.fields["meter"]
            if task.fields["over"]:
                return Text(task.fields["over"], style="dim")
            left = clock(meter.left_seconds(time.monotonic()))
            return Text(f"{left} left · {meter.number} {meter.step}")

    return [Title(), Bar(), State()]
