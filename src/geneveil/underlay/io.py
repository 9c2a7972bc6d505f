"""Asks the kernel for its addresses."""

import socket
from collections.abc import Mapping

from geneveil.netlink.io import dump
from geneveil.underlay import wire


class KernelAddresses:
    """The addresses of the network namespace of this process."""

    def read(self) -> Mapping[str, str]:
        """Each local address to the name of its interface.

        Raises:
            KernelError: they cannot be read; never a part of them.
        """
        messages = dump(wire.NETLINK_ROUTE, wire.RTM_GETADDR, wire.ADDRESS_REQUEST)
        names: dict[str, str] = {}
        for address, index in wire.parse_addresses(messages).items():
            try:
                names[address] = socket.if_indextoname(index)
            except OSError:  # it went between the two questions
                continue
        return names
