"""A fault as a value: what is done to a cluster, what heals it, and what must come out.

A folder of `lab/scenarios/` whose `scenario.py` has `FAULTS` instead of `play` is a situation of
one or more faults; `lab.fault_play` plays them in a row on one cluster.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
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


class Part(Enum):
    """Of a cluster, what a fault needs for itself: two that share one would undo one another, or
    one would wait in vain for what the other has taken away."""

    AGENT = "agent"
    CHARON = "charon"
    CREDENTIALS = "what charon has loaded"
    XFRM = "XFRM states and policies"
    GUARD = "guard"
    SWITCH = "Open vSwitch and OVN"
    WIRE = "wire"
    CLOCK = "clock"
    FILES = "state folder"
    OPERATOR = "operator"


EVERYTHING = frozenset(Part)
"""Of a fault that asserts what a cluster does that is well otherwise: a step by itself."""


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
        renews: nodes and pairs that lose nothing, but whose SAs may be others afterwards; those of
            `touches` may be anyway.
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
        claims: see `Part`; a random walk combines it with what claims nothing of that.
        walks: a random walk may play it; not so where another must follow.
        is_long: takes a minute and more, or may: not for the walk of `make test`.
    """

    name: str
    title: str
    inject: Step
    heal: Step | None = None
    touches: tuple[str, ...] = ()
    renews: tuple[str, ...] = ()
    hold_seconds: float = 0.0
    says: Mapping[str, frozenset[str]] = field(default_factory=dict)
    keeps: Keeps = Keeps.UNTOUCHED
    most_outage_seconds: float | None = None
    most_recovery_seconds: float | None = None
    well_seconds: float = 60.0
    takes: frozenset[Belonging] = frozenset()
    is_short: bool = False
    claims: frozenset[Part] = EVERYTHING
    walks: bool = True
    is_long: bool = False

    def touches_pair(self, pair: Pair) -> bool:
        """Whether an ordered pair of nodes may lose packets."""
        return bool(_names(pair) & set(self.touches))

    def renews_pair(self, pair: Pair) -> bool:
        """Whether an ordered pair of nodes may have other SAs afterwards."""
        return bool(_names(pair) & {*self.touches, *self.renews})


def _names(pair: Pair) -> set[str]:
    return {*pair, "-".join(pair), "-".join(pair[::-1])}


def recast(fault: Fault, cast: Mapping[str, str]) -> Fault:
    """The same with its parts played by other nodes.

    Args:
        cast: part to node; each node once.
    """

    def named(part: str) -> str:
        return "-".join(cast.get(name, name) for name in part.split("-"))

    def with_cast(step: Step) -> Step:
        async def recast_step(stage: Stage) -> None:
            await step(replace(stage, cast=cast))

        return recast_step

    return replace(
        fault,
        inject=with_cast(fault.inject),
        heal=with_cast(fault.heal) if fault.heal else None,
        touches=tuple(named(one) for one in fault.touches),
        renews=tuple(named(one) for one in fault.renews),
        says={named(node): found for node, found in fault.says.items()},
    )


def codes(nodes: Iterable[str], *names: str) -> dict[str, frozenset[str]]:
    """The same health codes on several nodes."""
    return {node: frozenset(names) for node in nodes}
