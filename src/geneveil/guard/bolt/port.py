"""What the agent asks of the bolt."""

from typing import Protocol

from geneveil.model.guard import GuardSpec


class Bolt(Protocol):
    """The bolt of this node. Raises DaemonError or KernelError."""

    @property
    def held(self) -> GuardSpec | None:
        """What it stands for, owned by this process."""

    def hold(self, spec: GuardSpec) -> bool:
        """Make it stand for `spec`, owned by this process; True if it had to be changed."""
