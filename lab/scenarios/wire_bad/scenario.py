"""The wire between two nodes loses, reorders, doubles and delays packets."""

from lab.fault import Fault, Keeps, Part
from lab.wire_faults import ease, worsen

TITLE = "A pair's wire: 1 % and 20 % loss, reordering, duplication, 200 ms delay"
NODES = 3
_PAIR = ("node1", "node2")
_HOLD_SECONDS = 20


def _bad(name: str, title: str, netem: str, *, is_short: bool = False) -> Fault:
    return Fault(
        name,
        f"wire: {title} between a pair for {_HOLD_SECONDS} s",
        worsen(*_PAIR, netem),
        ease(*_PAIR),
        touches=("node1-node2",),
        hold_seconds=_HOLD_SECONDS,
        keeps=Keeps.ALL,
        # What waits in the queue when the delay is taken away is lost with it.
        most_recovery_seconds=2.0,
        is_short=is_short,
        claims=frozenset({Part.WIRE}),
    )


FAULTS = (
    _bad("loss_1_percent", "1 % loss", "loss 1%"),
    _bad("loss_20_percent", "20 % loss", "loss 20%"),
    _bad("reordering", "25 % of packets overtake others by 20 ms", "delay 20ms reorder 25%"),
    _bad("duplication", "10 % of packets doubled", "duplicate 10%"),
    _bad("delay_200_ms", "200 ms delay", "delay 200ms"),
)
