"""The guard as values: what the nftables table must say, and what was read back."""

from dataclasses import dataclass
from enum import Enum


class GuardCounter(Enum):
    """The named counters: each counts Geneve that the guard dropped, and why."""

    CLEARTEXT_OUT = "cleartext_out"
    """It would have left this node without IPsec."""
    CLEARTEXT_IN = "cleartext_in"
    """It arrived at this node without IPsec."""
    FORWARDED = "forwarded"
    """It was sent by something that this node only forwards for, such as a pod."""
    QUOTED = "quoted"
    """It came in, nobody took it, and an ICMP error of this node would have quoted it in clear."""


@dataclass(frozen=True)
class Tally:
    """One counter's reading."""

    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class GuardSpec:
    """What the guard covers.

    Attributes:
        ports: UDP destination ports of the overlay, ascending, at least one.
        protocols: IP protocol numbers of tunnels without ports (GRE is 47), ascending.
    """

    ports: tuple[int, ...]
    protocols: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.ports or list(self.ports) != sorted(set(self.ports)):
            raise ValueError(f"guard ports must be ascending, distinct and not empty: {self.ports}")
        if list(self.protocols) != sorted(set(self.protocols)):
            raise ValueError(f"guard protocols must be ascending and distinct: {self.protocols}")

    def joined_with(self, other: "GuardSpec") -> "GuardSpec":
        """What either of the two covers."""
        return GuardSpec(
            tuple(sorted({*self.ports, *other.ports})),
            tuple(sorted({*self.protocols, *other.protocols})),
        )

    def widened_by(self, observed: "ObservedGuard") -> "GuardSpec":
        """This and whatever stands: for a moment at which nobody knows the tunnels yet.

        A guard that was widened for a tunnel must not shrink because the agent starts anew.
        """
        named = observed.named
        return GuardSpec(
            tuple(sorted({*self.ports, *(observed.ports or ()), *(named.ports if named else ())})),
            tuple(
                sorted({*self.protocols, *observed.protocols, *(named.protocols if named else ())})
            ),
        )


@dataclass(frozen=True)
class ObservedGuard:
    """What stands in the kernel.

    Attributes:
        present: a table of our name exists.
        ports: the ports that it covers, if it is exactly a guard as we write it; else None.
        counters: the readings that could be found; an absent counter reads zero.
        protocols: as `ports`; none if it is not exactly a guard as we write it.
        named: what the rules that drop and count for us name, whatever else is in the table: also
            of an altered guard, or of one that an older version wrote.
    """

    present: bool
    ports: tuple[int, ...] | None
    counters: dict[GuardCounter, Tally]
    protocols: tuple[int, ...] = ()
    named: GuardSpec | None = None

    def stands_for(self, spec: GuardSpec) -> bool:
        """Whether this is the guard that `spec` asks for, unaltered."""
        return self.present and (self.ports, self.protocols) == (spec.ports, spec.protocols)
