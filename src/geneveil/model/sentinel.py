"""The leak sentinel as values: what it counts and where, and what was read back."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from geneveil.model.guard import Tally


class SentinelCounter(Enum):
    """What it counts on the underlay interfaces: Geneve without IPsec, whatever the guard did."""

    WIRE_OUT = "wire_out"
    """Handed to the interface: it left this node in clear. Always 0, or something is very wrong."""
    WIRE_IN = "wire_in"
    """Came in from the interface, addressed to this node; the guard drops it afterwards."""


@dataclass(frozen=True)
class SentinelSpec:
    """Where it stands and what for; ports and protocols as in `GuardSpec`.

    Attributes:
        devices: names of network interfaces, ascending, at least one.
    """

    devices: tuple[str, ...]
    ports: tuple[int, ...]
    protocols: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for values in (self.devices, self.ports, self.protocols):
            if list(values) != sorted(set(values)):  # type: ignore[type-var]
                raise ValueError(f"sentinel values must be ascending and distinct: {values}")
        if not self.devices or not self.ports:
            raise ValueError("a sentinel needs a device and a port")


@dataclass(frozen=True)
class ObservedSentinel:
    """What stands in the kernel.

    Attributes:
        spec: None if it is absent, or is not exactly a sentinel as we write it.
        counters: the readings that could be found.
    """

    spec: SentinelSpec | None
    counters: Mapping[SentinelCounter, Tally]
