"""Another program empties XFRM and nftables in one breath."""

from lab.fault import Belonging, Fault, Part, codes
from lab.scenarios.state_emptied.scenario import flush_nftables
from lab.stage import Stage

TITLE = "XFRM and nftables flushed in one breath"
NODES = 3


async def _flush_both(stage: Stage) -> None:
    await flush_nftables(stage, "ip xfrm state flush; ip xfrm policy flush; ")


FAULTS = (
    Fault(
        "xfrm_and_nftables_flushed",
        "state: XFRM and nftables flushed in one breath",
        _flush_both,
        touches=("node1",),
        hold_seconds=4,
        says=codes(["node1"], "guard-missing", "peer-unproven"),
        most_outage_seconds=3.0,
        most_recovery_seconds=4.0,
        takes=frozenset({Belonging.XFRM, Belonging.NFTABLES}),
        is_short=True,
        claims=frozenset({Part.XFRM, Part.GUARD, Part.AGENT}),
    ),
)
