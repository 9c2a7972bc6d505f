"""What the agent asks of the sentinel."""

from typing import Protocol

from geneveil.model.sentinel import ObservedSentinel, SentinelSpec


class Sentinel(Protocol):
    """The leak sentinel of this node. Every method raises DaemonError or KernelError."""

    def read(self) -> ObservedSentinel:
        """What stands in the kernel now."""

    def apply(self, spec: SentinelSpec) -> bool:
        """Make it stand as `spec` says; True if something had to be changed."""
