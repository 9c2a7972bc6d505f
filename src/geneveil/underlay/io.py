"""Asks the kernel for its addresses, and for the MTU of its interfaces."""

import contextlib
import errno
import fcntl
import socket
from collections.abc import Iterable, Mapping

from geneveil.model.errors import KernelError
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

    def read_mtus(self, interfaces: Iterable[str]) -> Mapping[str, int]:
        """Each of these interfaces that is there to its MTU in bytes.

        One question an interface (netdevice(7), SIOCGIFMTU): a dump of all would bring along
        those of every pod.

        Raises:
            KernelError: one cannot be read.
        """
        mtus: dict[str, int] = {}
        try:
            with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
                for name in interfaces:
                    try:
                        answer = fcntl.ioctl(sock, wire.SIOCGIFMTU, wire.encode_mtu_request(name))
                    except OSError as error:
                        if error.errno == errno.ENODEV:  # it went
                            continue
                        raise
                    mtus[name] = wire.parse_mtu(answer)
        except OSError as error:
            why = error.strerror or str(error)
            raise KernelError("cannot read the MTU of an interface", why=why) from None
        return mtus
