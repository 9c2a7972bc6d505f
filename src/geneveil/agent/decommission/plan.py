"""What has to go, and what came of it. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from geneveil.model.connection import OWNED_PREFIX, ObservedIke
from geneveil.model.xfrm import XfrmMode, XfrmPolicy, XfrmState

MEANING = (
    "This takes geneveil off this node: the guard, the leak sentinel, its connections and security "
    "associations in charon, the boot-time units, and the node's key and certificate, which cannot "
    "be brought back. From then on nothing here keeps Geneve from leaving in clear, and what this "
    "node sends to nodes that go on encrypting is dropped there. Take it out of Open vSwitch and "
    "OVN first. What others have in nftables, XFRM and charon stays as it is."
)


class Outcome(Enum):
    """What became of one part."""

    DONE = "done"
    NOTHING = "nothing-there"
    FAILED = "failed"
    KEPT = "kept"
    """Not touched, because something that has to go before it could not."""


_LEFT = (Outcome.FAILED, Outcome.KEPT)


@dataclass(frozen=True)
class Step:
    """One part; `detail` says what was found, or what is left and why."""

    part: str
    outcome: Outcome
    detail: str = ""


@dataclass(frozen=True)
class Part:
    """One part that has to go.

    Attributes:
        work: takes it away and says what came of it; never raises.
        after: the parts without whose end it is not touched.
    """

    name: str
    work: Callable[[], Step]
    after: tuple[str, ...] = ()


def carry_out(parts: Iterable[Part]) -> list[Step]:
    """Take the parts away in their order; one that fails keeps back only those that need its end.

    What keeps the overlay closed (the guard, and what sets it at boot) comes last and needs the end
    of everything else.
    """
    steps: list[Step] = []
    for part in parts:
        missed = [s.part for s in steps if s.part in part.after and s.outcome in _LEFT]
        if missed:
            failed = [s.part for s in steps if s.part in missed and s.outcome is Outcome.FAILED]
            why = f"first has to go: {', '.join(failed or missed)}"
            steps.append(Step(part.name, Outcome.KEPT, why))
        else:
            steps.append(part.work())
    return steps


@dataclass(frozen=True)
class OwnInCharon:
    """What charon has of ours.

    Attributes:
        ike_ids: unique ids of our IKE_SAs.
        spis: of our CHILD_SAs, each with the address that it leads to.
        keys: ids of private keys in its memory that are ours.
        may_clear: nobody else shows there, so that certificates can be cleared too.
    """

    connections: tuple[str, ...]
    ike_ids: tuple[int, ...]
    spis: frozenset[tuple[str, int]]
    keys: tuple[str, ...]
    may_clear: bool

    @property
    def is_empty(self) -> bool:
        return not (self.connections or self.ike_ids or self.keys)


def find_own(observed: ObservedIke, own_keys: frozenset[str]) -> OwnInCharon:
    """Ours is what carries our prefix, and the keys that are in our files."""
    sas = [sa for sa in observed.sas if sa.connection.startswith(OWNED_PREFIX)]
    spis = {
        (address, spi)
        for sa in sas
        for child in sa.children
        for address, spi in ((sa.remote_ip, child.spi_out), (sa.local_ip, child.spi_in))
        if spi
    }
    return OwnInCharon(
        connections=tuple(c.name for c in observed.connections if c.name.startswith(OWNED_PREFIX)),
        ike_ids=tuple(sa.unique_id for sa in sas),
        spis=frozenset(spis),
        keys=tuple(sorted(observed.key_ids & own_keys)),
        may_clear=bool(observed.key_ids) and observed.is_ours_alone(own_keys),
    )


def left_states(
    states: Iterable[XfrmState], spis: frozenset[tuple[str, int]]
) -> tuple[XfrmState, ...]:
    """Those of our states that still stand."""
    return tuple(state for state in states if (state.destination, state.spi) in spis)


def overlay_policies(
    policies: Iterable[XfrmPolicy], ports: tuple[int, ...]
) -> tuple[XfrmPolicy, ...]:
    """Policies that put the overlay's ports into transport mode: ours, if charon made them for us,
    and nobody can tell while charon is away."""
    return tuple(
        policy
        for policy in policies
        if policy.selector.protocol == 17
        and {policy.selector.destination_port, policy.selector.source_port} & set(ports)
        and any(template.mode is XfrmMode.TRANSPORT for template in policy.templates)
    )


def steps_document(steps: Iterable[Step]) -> dict[str, Any]:
    """For machines."""
    listed = list(steps)
    return {
        "complete": is_complete(listed),
        "steps": [
            {"part": step.part, "outcome": step.outcome.value, "detail": step.detail}
            for step in listed
        ],
    }


def is_complete(steps: Iterable[Step]) -> bool:
    """Whether nothing is left."""
    return all(step.outcome not in _LEFT for step in steps)
