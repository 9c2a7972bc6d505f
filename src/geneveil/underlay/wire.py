"""rtnetlink's addresses, and netdevice's MTU, to values. Pure.

Layouts: ifaddrmsg, 8 bytes (include/uapi/linux/if_addr.h): u8 family, u8 prefixlen, u8 flags,
u8 scope, u32 interface index; then attributes. rtnetlink(7).
ifreq, 40 bytes on machines of 64 bits: 16 of name, ended by a zero byte, then a union, here an int.
netdevice(7).
"""

import struct
from collections.abc import Iterable
from ipaddress import ip_address

from geneveil.netlink.wire import NetlinkMessage, parse_attributes

NETLINK_ROUTE = 0
RTM_NEWADDR = 20
RTM_GETADDR = 22
ADDRESS_REQUEST = bytes(8)
"""An ifaddrmsg that asks for all families."""

_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFADDRMSG = struct.Struct("=BBBBI")
_ADDRESS_SIZES = (4, 16)

SIOCGIFMTU = 0x8921
_IFREQ = struct.Struct("=16si20x")


def encode_mtu_request(interface: str) -> bytes:
    """An ifreq that names an interface, for SIOCGIFMTU; a name may be any bytes (PEP 383)."""
    return _IFREQ.pack(interface.encode(errors="surrogateescape"), 0)


def parse_mtu(answer: bytes) -> int:
    """MTU in bytes of the ifreq that SIOCGIFMTU filled in."""
    mtu: int = _IFREQ.unpack(answer)[1]
    return mtu


def parse_addresses(messages: Iterable[NetlinkMessage]) -> dict[str, int]:
    """Each local address, as text in its shortest form, to the index of its interface.

    On a point-to-point interface IFA_ADDRESS is the other end: IFA_LOCAL goes before it.

    Raises:
        KernelError: the bytes are cut.
    """
    found: dict[str, int] = {}
    for message in messages:
        if message.kind != RTM_NEWADDR or len(message.payload) < _IFADDRMSG.size:
            continue
        index = _IFADDRMSG.unpack_from(message.payload)[4]
        attributes = parse_attributes(message.payload, _IFADDRMSG.size)
        address = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")
        if len(address) in _ADDRESS_SIZES:
            found[str(ip_address(address))] = index
    return found
