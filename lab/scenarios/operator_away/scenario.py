"""The operator is away for hours: nothing needs it meanwhile."""

from datetime import timedelta

from lab.clocks import read_clock, set_clocks
from lab.deadline import wait_until
from lab.fault import Fault, Keeps, Part, codes
from lab.fault_kernel import read_kernels
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = "The operator is away for two hours"
NODES = 3
_ALL = ("node1", "node2", "node3")
_REKEYED_SECONDS = 60.0


class _Absence:
    """Remembers the SAs of before, to tell that each was rekeyed without the operator."""

    def __init__(self) -> None:
        self.before: frozenset[str] = frozenset()

    async def leave(self, stage: Stage) -> None:
        self.before = await _spis(stage)
        await stage.control_plane.leave()
        later = await read_clock(stage.running, CENTRAL) + timedelta(hours=2)
        await set_clocks(stage.running, later)

    async def end(self, stage: Stage) -> None:
        left = self.before

        async def all_rekeyed() -> bool:
            nonlocal left
            left = self.before & await _spis(stage)
            return not left

        await wait_until(
            all_rekeyed,
            f"all {len(self.before)} SAs of before to be rekeyed while the operator was away",
            _REKEYED_SECONDS,
            explain=lambda: f"{len(left)} are left",
            poll_seconds=0.5,
        )
        await stage.control_plane.come_back()

        async def heard() -> bool:
            found = [await stage.status(name) for name in _ALL]
            return not any(v["code"] == "operator-silent" for one in found for v in one["health"])

        # A question is held for up to a minute, and only its answer ends the silence.
        await wait_until(heard, "the nodes to hear the operator again", 150, poll_seconds=0.5)


async def _spis(stage: Stage) -> frozenset[str]:
    """Of all nodes' SAs."""
    kernels = (await read_kernels(stage)).spis.values()
    return frozenset(spi for held in kernels for _, _, spi in held)


_ABSENCE = _Absence()

FAULTS = (
    Fault(
        "operator_away",
        "operator: killed, away for two hours of the nodes' time",
        _ABSENCE.leave,
        _ABSENCE.end,
        hold_seconds=20,
        well_seconds=90,
        says=codes(_ALL, "operator-silent"),
        keeps=Keeps.NONE,  # hours went by: SAs were rekeyed
        claims=frozenset({Part.OPERATOR, Part.CLOCK, Part.XFRM}),
        is_long=True,
    ),
)
