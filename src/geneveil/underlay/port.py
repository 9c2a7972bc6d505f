"""What the agent asks about the node's addresses."""

from collections.abc import Iterable, Mapping
from typing import Protocol


class Addresses(Protocol):
    """The local addresses, and the interfaces that hold them."""

    def read(self) -> Mapping[str, str]:
        """Each local address to the name of its interface; KernelError rather than a part."""

    def read_mtus(self, interfaces: Iterable[str]) -> Mapping[str, int]:
        """Each of these that is there to its MTU in bytes; KernelError rather than a part."""
