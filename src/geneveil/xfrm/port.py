"""What the agent asks of the kernel."""

from typing import Protocol

from geneveil.model.xfrm import XfrmPolicy, XfrmState


class KernelIpsec(Protocol):
    """The IPsec database of this network namespace. Every method raises KernelError."""

    def read_states(self) -> tuple[XfrmState, ...]:
        """Every state, of others too."""

    def read_policies(self) -> tuple[XfrmPolicy, ...]:
        """Every policy, of others too."""

    def delete_state(self, destination: str, spi: int, protocol: int) -> None:
        """Exactly this state. One that is not there is no error."""
