"""What the agent asks about the node's addresses."""

from collections.abc import Mapping
from typing import Protocol


class Addresses(Protocol):
    """The local addresses."""

    def read(self) -> Mapping[str, str]:
        """Each local address to the name of its interface; KernelError rather than a part."""
