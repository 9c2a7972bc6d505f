"""Netlink datagrams to messages, and payloads to attributes. Pure.

Layouts, in host byte order (include/uapi/linux/netlink.h; RFC 3549 §2.3):

    nlmsghdr
        u32 len, u16 type, u16 flags, u32 seq, u32 pid; padded to 4
    nlattr
        u16 len, u16 type, whose two highest bits are flags; padded to 4
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from geneveil.model.errors import KernelError

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTERRUPTED = 0x010
NLM_F_DUMP = 0x300
NLA_TYPE_MASK = 0x3FFF

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")


@dataclass(frozen=True)
class NetlinkMessage:
    """One message; `port_id` names the socket that caused it, 0 for the kernel itself."""

    kind: int
    flags: int
    sequence: int
    port_id: int
    payload: bytes = field(repr=False)


def encode_request(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """One request; several may stand in a datagram."""
    header = _HEADER.pack(_HEADER.size + len(payload), kind, flags, sequence, 0)
    return _padded(header + payload)


def encode_attribute(kind: int, payload: bytes) -> bytes:
    """One attribute."""
    return _padded(_ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind) + payload)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def parse_messages(datagram: bytes) -> Iterator[NetlinkMessage]:
    """Every message of one datagram.

    Raises:
        KernelError: the bytes are cut short.
    """
    offset = 0
    while offset < len(datagram):
        if offset + _HEADER.size > len(datagram):
            raise KernelError("cannot read from netlink", why="a cut header")
        length, kind, flags, sequence, port_id = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size or offset + length > len(datagram):
            raise KernelError("cannot read from netlink", why="a cut message")
        payload = datagram[offset + _HEADER.size : offset + length]
        yield NetlinkMessage(kind, flags, sequence, port_id, payload)
        offset += (length + 3) & ~3


def parse_attributes(payload: bytes, offset: int) -> dict[int, bytes]:
    """The attributes behind a fixed part of `offset` bytes; of equal ones the last.

    Raises:
        KernelError: the bytes are cut short.
    """
    found: dict[int, bytes] = {}
    while offset + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < _ATTRIBUTE.size or offset + length > len(payload):
            raise KernelError("cannot read from netlink", why="a cut attribute")
        found[kind & NLA_TYPE_MASK] = payload[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def parse_text(data: bytes) -> str:
    """A text that the kernel ended with a zero byte; what is not printable ASCII is replaced."""
    text = data.split(b"\0", 1)[0].decode("ascii", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)
