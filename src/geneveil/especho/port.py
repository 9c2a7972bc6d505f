"""What the agent asks of the echo."""

from typing import Protocol, TypeAlias

AddressPair: TypeAlias = tuple[str, str]
"""This node's address and the peer's."""


class EspEcho(Protocol):
    """Echoes in plain ESP. That there can be no such socket shows at `read`, as KernelError."""

    def listen(self, pairs: frozenset[AddressPair]) -> None:
        """From now on answer these pairs, and no others; with none, nothing is open."""

    def ask(self, pair: AddressPair) -> None:
        """Send a request; its reply shows at a later `read`."""

    def read(self) -> frozenset[AddressPair]:
        """Answer the requests that came, and say whose replies came; does not wait."""
