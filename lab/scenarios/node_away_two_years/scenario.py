"""node3 is off while two years pass and the authority is rolled over."""

from lab.passing_time import add_months, now, pass_time
from lab.rollover import await_phases, pass_waves, rotate
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = "A node that was off for two years, through a roll-over, comes back by itself"
NODES = 3
_AWAY_MONTHS = 24
_AWAY_SECONDS = 720.0


async def play(stage: Stage) -> None:
    stage.touched.add("node3")
    others = ["node1", "node2"]
    begun = await now(stage)
    await stage.power_off("node3")
    moments = [add_months(begun, months) for months in range(6, _AWAY_MONTHS + 1, 6)]
    # Without node3 a status is not "well": it says that a peer is down. So time passes unasked.
    await pass_time(stage, moments, guests=[CENTRAL, *others], well=[])
    await rotate(stage)
    # A node counts as away after ten minutes of silence, and no clock that is moved shortens them.
    await await_phases(stage, until="switch", seconds=_AWAY_SECONDS)
    await pass_waves(stage, guests=[CENTRAL, *others])
    await await_phases(stage, until="retire")
    await stage.power_on("node3")
    await stage.await_well(seconds=120)
    found = await stage.status("node3")
    stage.note(f"node3's certificate is now issued by {found['certificate']['issuer']}")
