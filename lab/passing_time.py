"""Years go by: the guests' clocks are moved on in steps, and after each step all must be well."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from lab.clocks import read_clock, set_clocks
from lab.stage import Stage
from lab.topology import CENTRAL


def add_months(moment: datetime, months: int) -> datetime:
    """Calendar months on, kept within the month (31 January and a month is 28 or 29 February)."""
    year, month = divmod(moment.month - 1 + months, 12)
    first = moment.replace(year=moment.year + year, month=month + 1, day=1)
    next_month = (first + timedelta(days=32)).replace(day=1)
    last_day = (next_month - timedelta(days=1)).day
    return first.replace(day=min(moment.day, last_day))


async def now(stage: Stage) -> datetime:
    """The cluster's time, as the operator's guest has it."""
    return await read_clock(stage.running, CENTRAL)


async def pass_time(
    stage: Stage,
    moments: Iterable[datetime],
    *,
    without: Iterable[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Move all clocks to one moment after another; each time all must be well.

    Args:
        without: nodes that are off: their clocks stand, and of the others it is asked only that
            they reach one another and have renewed what was due.
    """
    off = set(without)
    guests = [guest for guest in stage.running.layout.topology.guests if guest not in off]
    names = [node.name for node in stage.nodes if node.name not in off]
    for moment in moments:
        await set_clocks(stage.running, moment, guests)
        # Renewal first: a status that is well may be from before the clock was moved.
        took = await stage.await_together(names)
        if not off:
            took += await stage.await_well()
        say(f"{moment:%Y-%m-%d}: all well after {took:.1f} s")


def moments_until(begin: datetime, end: datetime, step: timedelta) -> list[datetime]:
    """From `begin` on by `step`, ending with `end` itself."""
    found = []
    moment = begin + step
    while moment < end:
        found.append(moment)
        moment += step
    return [*found, end]
