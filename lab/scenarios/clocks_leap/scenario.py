"""A broken time server: all clocks leap at once, the operator's too, and come back."""

import time
from dataclasses import replace
from datetime import datetime, timedelta

from lab.clocks import read_clock, set_clocks
from lab.fault import Fault, Keeps, Part, Step, codes
from lab.rollover import ca_status
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = "All clocks leap a day, a year, six years, ten years, and come back"
NODES = 3
_HOLD_SECONDS = 10.0
_ALL = ("node1", "node2", "node3")


class _Leap:
    """Remembers the right time while all clocks are wrong, and who signed before."""

    def __init__(self, days: int) -> None:
        self.days = days
        self.right: datetime | None = None
        self.at_seconds = 0.0
        self.authorities: list[str] = []

    async def leap(self, stage: Stage) -> None:
        self.authorities = await _authorities(stage)
        self.right, self.at_seconds = await read_clock(stage.running, CENTRAL), time.monotonic()
        await set_clocks(stage.running, self.right + timedelta(days=self.days))

    async def come_back(self, stage: Stage) -> None:
        assert self.right is not None
        lived = timedelta(seconds=time.monotonic() - self.at_seconds)
        await set_clocks(stage.running, self.right + lived)
        assert await _authorities(stage) == self.authorities, "the leap changed the authorities"


async def _authorities(stage: Stage) -> list[str]:
    found = await ca_status(stage)
    return [f"{found['phase']}", *(str(one["notBefore"]) for one in found["authorities"])]


def _fault(name: str, title: str, days: int, code: str = "", *, is_short: bool = False) -> Fault:
    leap = _Leap(days)
    inject: Step = leap.leap
    return Fault(
        name,
        f"time: all clocks {title} and back",
        inject,
        leap.come_back,
        hold_seconds=_HOLD_SECONDS,
        says=codes(_ALL, code) if code else {},
        keeps=Keeps.ALL,
        is_short=is_short,
        claims=frozenset({Part.CLOCK, Part.OPERATOR}),
    )


FAULTS = (
    _fault("clocks_a_day_ahead", "a day ahead", 1),
    _fault("clocks_a_day_behind", "a day behind", -1, "certificate-not-yet-valid"),
    _fault("clocks_a_year_ahead", "a year ahead", 365),
    _fault("clocks_a_year_behind", "a year behind", -365, "certificate-not-yet-valid"),
    _fault("clocks_six_years_ahead", "six years ahead", 2192, "certificate-expired"),
    _fault("clocks_ten_years_ahead", "ten years ahead", 3700, "certificate-expired", is_short=True),
    _fault("clocks_ten_years_behind", "ten years behind", -3700, "certificate-not-yet-valid"),
)


def _on_kubernetes(fault: Fault) -> Fault:
    """A node whose certificate is out of its time asks for another there, and gets it: the token of
    its agent's Pod proves it, and the operator's clock leaps too. Nothing is lost by that."""
    return replace(fault, keeps=Keeps.NONE, says={}) if fault.says else fault


FAULTS_ON_KUBERNETES = tuple(map(_on_kubernetes, FAULTS))
