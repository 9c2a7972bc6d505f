"""What the agent asks of the kernel."""

from typing import Protocol

from geneveil.model.xfrm import XfrmPolicy, XfrmState


class KernelIpsec(Protocol):
    """The IPsec database of this network namespace. Both raise KernelError."""

    def read_states(self) -> tuple[XfrmState, ...]:
        """Every state, of others too."""

    def read_policies(self) -> tuple[XfrmPolicy, ...]:
        """Every policy, of others too."""
