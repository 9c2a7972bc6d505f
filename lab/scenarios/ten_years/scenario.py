"""Ten years and six months, a quarter of a year at a time."""

from datetime import timedelta

from lab.passing_time import add_months, now, pass_time
from lab.rollover import STEADY, await_phases, ca_status, issuers
from lab.stage import Stage

TITLE = "Ten years pass: everything renews itself"
NODES = 3
_MONTHS, _STEP_MONTHS = 126, 3


async def play(stage: Stage) -> None:
    begun = await now(stage)
    under_way: list[int] = []
    first = set((await issuers(stage)).values())
    for months in range(_STEP_MONTHS, _MONTHS + 1, _STEP_MONTHS):
        moment = add_months(begun, months)
        await pass_time(stage, [moment])
        if (await ca_status(stage))["phase"] != STEADY:
            under_way.append(months)
    stage.note(f"a roll-over was under way in the months {under_way}")
    # Whatever is still under way comes to its end in a quiet time.
    if (await ca_status(stage))["phase"] != STEADY:
        await pass_time(stage, [add_months(begun, _MONTHS) + timedelta(days=1)])
        await await_phases(stage)
    await stage.await_well()
    last = set((await issuers(stage)).values())
    assert not first & last, "after ten years the first authority still issues"
