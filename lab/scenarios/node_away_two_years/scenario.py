"""node3 is off while two years pass and the authority is rolled over."""

from lab.passing_time import add_months, now, pass_time
from lab.rollover import await_phases, pass_waves, rotate
from lab.stage import Stage

TITLE = "A node that was off for two years, through a roll-over, comes back by itself"
NODES = 3
_AWAY_MONTHS = 24
_SPARE_SECONDS = 90.0


async def play(stage: Stage) -> None:
    stage.touched.add("node3")
    begun = await now(stage)
    await stage.power_off("node3")
    moments = [add_months(begun, months) for months in range(6, _AWAY_MONTHS + 1, 6)]
    await pass_time(stage, moments, without=["node3"])
    await rotate(stage)
    # A node counts as away after a silence that no moved clock shortens.
    away_seconds = stage.control_plane.away_after_seconds + _SPARE_SECONDS
    seen = await await_phases(stage, until="switch", seconds=away_seconds)
    await pass_waves(stage, without=["node3"])
    await await_phases(stage, until="retire", seen_before=seen)
    await stage.power_on("node3")
    await stage.await_well(seconds=120)
    found = await stage.status("node3")
    stage.note(f"node3's certificate is now issued by {found['certificate']['issuer']}")
