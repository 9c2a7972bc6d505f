"""The operator is away for hours: nothing needs it meanwhile."""

from datetime import timedelta

from lab.clocks import read_clock, set_clocks
from lab.deadline import wait_until
from lab.fault import Fault, Keeps, Part, codes
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = "The operator is away for two hours"
NODES = 3
_ALL = ("node1", "node2", "node3")


async def _leave(stage: Stage) -> None:
    await stage.control_plane.leave()
    await set_clocks(stage.running, await read_clock(stage.running, CENTRAL) + timedelta(hours=2))


async def _return(stage: Stage) -> None:
    await stage.control_plane.come_back()

    async def heard() -> bool:
        found = [await stage.status(name) for name in _ALL]
        return not any(v["code"] == "operator-silent" for one in found for v in one["health"])

    # A question is held for up to a minute, and only its answer ends the silence.
    await wait_until(heard, "the nodes to hear the operator again", 150, poll_seconds=0.5)


FAULTS = (
    Fault(
        "operator_away",
        "operator: killed, away for two hours of the nodes' time",
        _leave,
        _return,
        hold_seconds=20,
        well_seconds=90,
        says=codes(_ALL, "operator-silent"),
        # A clock that is moved on makes no SA older: the kernel counts the time that passes.
        keeps=Keeps.ALL,
        claims=frozenset({Part.OPERATOR, Part.CLOCK}),
        is_long=True,
    ),
)
