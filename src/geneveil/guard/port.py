"""What the agent asks of the guard."""

from typing import Protocol

from geneveil.model.guard import GuardSpec, ObservedGuard


class Guard(Protocol):
    """The nftables guard of this node. Every method raises DaemonError or KernelError."""

    def read(self) -> ObservedGuard:
        """What stands in the kernel now."""

    def apply(self, spec: GuardSpec) -> bool:
        """Make the guard stand as `spec` says; True if something had to be changed."""

    def cover(self, spec: GuardSpec) -> tuple[GuardSpec, bool]:
        """As `apply`, for `spec` and whatever the guard covers already; what stands now, too."""
