"""What the agent asks of the guard."""

from collections.abc import Mapping
from typing import Protocol

from geneveil.model.guard import GuardCounter, GuardSpec, ObservedGuard, Tally


class Guard(Protocol):
    """The nftables guard of this node. Every method raises DaemonError or KernelError."""

    def read(self) -> ObservedGuard:
        """What stands in the kernel now."""

    def apply(self, spec: GuardSpec) -> bool:
        """Make the guard stand as `spec` says; True if something had to be changed."""

    def cover(self, spec: GuardSpec) -> tuple[GuardSpec, bool]:
        """As `apply`, for `spec` and whatever the guard covers already; what stands now, too."""


class RestorableGuard(Guard, Protocol):
    """A guard that can also be mended in a hurry."""

    def restore(self, spec: GuardSpec, tallies: Mapping[GuardCounter, Tally]) -> ObservedGuard:
        """As `apply`, in as few steps as can be; what was found, and `tallies` instead of the
        counters that are not there any more."""
