"""One node's clock is wrong, by a day to ten years, in both directions, and set right again."""

from datetime import timedelta

from lab.clocks import read_clock, set_clocks
from lab.fault import Fault, Keeps, Step
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = "One node's clock is a day, a year, ten years off"
NODES = 3
_HOLD_SECONDS = 7.0
_EXPIRED = "certificate-expired"
_NOT_YET = "certificate-not-yet-valid"


def _set_off(days: int) -> Step:
    async def step(stage: Stage) -> None:
        right = await read_clock(stage.running, CENTRAL)
        await set_clocks(stage.running, right + timedelta(days=days), ["node1"])

    return step


async def _set_right(stage: Stage) -> None:
    await set_clocks(stage.running, await read_clock(stage.running, CENTRAL), ["node1"])


def _fault(name: str, title: str, days: int, code: str = "", *, is_short: bool = False) -> Fault:
    return Fault(
        name,
        f"time: one node's clock {title}",
        _set_off(days),
        _set_right,
        hold_seconds=_HOLD_SECONDS,
        says={"node1": frozenset({code})} if code else {},
        keeps=Keeps.ALL,
        is_short=is_short,
    )


FAULTS = (
    _fault("clock_a_day_ahead", "a day ahead", 1),
    _fault("clock_a_day_behind", "a day behind", -1, _NOT_YET),
    _fault("clock_a_year_ahead", "a year ahead", 365),
    _fault("clock_a_year_behind", "a year behind", -365, _NOT_YET),
    _fault("clock_ten_years_ahead", "ten years ahead", 3653, _EXPIRED, is_short=True),
    _fault("clock_ten_years_behind", "ten years behind", -3653, _NOT_YET),
)
