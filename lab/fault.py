"""A fault as a value: what is done to a cluster, what heals it, and what must come out.

A folder of `lab/scenarios/` whose `scenario.py` has `FAULTS` instead of `play` is a situation of
one or more faults; `lab.fault_play` plays them in a row on one cluster.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from lab.stage import Stage

Step = Callable[[Stage], Awaitable[None]]
Pair = tuple[str, str]
UDP_A_SECOND = 200


class Keeps(Enum):
    """Which pairs have the same SPIs after a fault as before it."""

    ALL = "all pairs"
    UNTOUCHED = "untouched pairs"
    NONE = "no pair"


class Belonging(Enum):
    """What others have on a node beside us."""

    XFRM = "XFRM state and policy"
    NFTABLES = "nftables table"
    CHARON = "charon connection"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: unique among all faults; letters, digits and _.
        title: a row's first column in docs/reliability.md.
        inject: breaks something; returns as soon as it is broken.
        heal: repairs it from outside; None where the cluster has to do that itself. Recovery is
            counted from here, or without it from `inject`.
        touches: nodes ("node2") and pairs ("node1-node2") that may lose packets; all others must
            lose none.
        hold_seconds: between `inject` and `heal`.
        says: node to the health codes that its log must name, each with a remedy, and that must be
            over in the end. With `hold_seconds` of 5 and more `geneveil status` must have shown
            them too. Codes that come beside are no error.
        keeps: whose SPIs must be as before.
        most_outage_seconds: of any touched pair: the longest time without a packet.
        most_recovery_seconds: of any touched pair: from `heal` (or `inject`) to its last lost one.
        well_seconds: how long it may take until every node says that all is well.
        takes: belongings of others that the fault itself takes away; they are put back after it.
        is_short: played in `make test` too.
    """

    name: str
    title: str
    inject: Step
    heal: Step | None = None
    touches: tuple[str, ...] = ()
    hold_seconds: float = 0.0
    says: Mapping[str, frozenset[str]] = field(default_factory=dict)
    keeps: Keeps = Keeps.UNTOUCHED
    most_outage_seconds: float | None = None
    most_recovery_seconds: float | None = None
    well_seconds: float = 60.0
    takes: frozenset[Belonging] = frozenset()
    is_short: bool = False

    def touches_pair(self, pair: Pair) -> bool:
        """Whether an ordered pair of nodes may lose packets."""
        names = {*pair, "-".join(pair), "-".join(pair[::-1])}
        return bool(names & set(self.touches))


def codes(nodes: Iterable[str], *names: str) -> dict[str, frozenset[str]]:
    """The same health codes on several nodes."""
    return {node: frozenset(names) for node in nodes}
