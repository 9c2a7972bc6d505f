"""node3 is off while two years pass and the authority is rolled over."""

from lab.passing_time import add_months, now, pass_time
from lab.rollover import await_phases, pass_waves, rotate
from lab.stage import Stage

TITLE = "A node that was off for two years, through a roll-over, comes back by itself"
NODES = 3
NOT_ON_KUBERNETES = (
    "a node counts as away after 15 minutes there, three of its heartbeats, which no moved clock "
    "shortens"
)
_AWAY_MONTHS = 24
_AWAY_SECONDS = 150.0


async def play(stage: Stage) -> None:
    stage.touched.add("node3")
    begun = await now(stage)
    await stage.power_off("node3")
    moments = [add_months(begun, months) for months in range(6, _AWAY_MONTHS + 1, 6)]
    await pass_time(stage, moments, without=["node3"])
    await rotate(stage)
    # A node counts as away after a silence that no moved clock shortens: in the lab, a minute.
    seen = await await_phases(stage, until="switch", seconds=_AWAY_SECONDS)
    await pass_waves(stage, without=["node3"])
    await await_phases(stage, until="retire", seen_before=seen)
    await stage.power_on("node3")
    await stage.await_well(seconds=120)
    found = await stage.status("node3")
    stage.note(f"node3's certificate is now issued by {found['certificate']['issuer']}")
