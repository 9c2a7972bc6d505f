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


@dataclass(frozen=True)
class Tally:
    """One counter's reading."""

    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class GuardSpec:
    """What the guard covers: UDP destination ports of the overlay, ascending, at least one."""

    ports: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.ports or list(self.ports) != sorted(set(self.ports)):
            raise ValueError(f"guard ports must be ascending, distinct and not empty: {self.ports}")


@dataclass(frozen=True)
class ObservedGuard:
    """What stands in the kernel.

    Attributes:
        present: a table of our name exists.
        ports: the ports that it covers, if it is exactly a guard as we write it; else None.
        counters: the readings that could be found; an absent counter reads zero.
    """

    present: bool
    ports: tuple[int, ...] | None
    counters: dict[GuardCounter, Tally]

    def stands_for(self, spec: GuardSpec) -> bool:
        """Whether this is the guard that `spec` asks for, unaltered."""
        return self.present and self.ports == spec.ports
