"""The echo's datagram. Pure.

To a middlebox it is ESP (RFC 4303 §2): an SPI and a sequence number, then what looks like payload.

    0   u32  SPI, always ECHO_SPI: no SA has it, so the kernel drops what no echo socket takes
    4   u32  sequence number, 1
    8   8    MAGIC
    16  u8   kind: 1 request, 2 reply; 3 zero
    20  16   nonce, chosen by the asking node
    36  28   zero

It is not authenticated, and need not be. A reply must carry the nonce, so only somebody on the way
can forge one, and whoever sits there can stop all traffic anyway. What a forged reply brings about
is a new, encrypted, SA in plain ESP.
"""

import struct
from dataclasses import dataclass
from enum import Enum

ECHO_SPI = 0x6765_6E76
"""One value of 2^32: an SA of the kernel's that has it by chance is no trouble for either."""

MAGIC = b"geneveil"
NONCE_BYTES = 16

_LAYOUT = struct.Struct("!II8sB3x16s28x")
_SEQUENCE = 1


class EchoKind(Enum):
    """The value is the byte on the wire."""

    REQUEST = 1
    REPLY = 2


@dataclass(frozen=True)
class Echo:
    """One datagram."""

    kind: EchoKind
    nonce: bytes


def encode_echo(echo: Echo) -> bytes:
    """The payload of an IP packet of protocol 50: 64 bytes."""
    return _LAYOUT.pack(ECHO_SPI, _SEQUENCE, MAGIC, echo.kind.value, echo.nonce)


def parse_echo(payload: bytes) -> Echo | None:
    """What `encode_echo` made, or None: anything may come in on such a socket."""
    if len(payload) != _LAYOUT.size:
        return None
    spi, _sequence, magic, kind, nonce = _LAYOUT.unpack(payload)
    if spi != ECHO_SPI or magic != MAGIC or kind not in (1, 2):
        return None
    return Echo(EchoKind(kind), nonce)


def strip_ipv4_header(packet: bytes) -> bytes:
    """What a raw IPv4 socket delivers begins with the IP header (raw(7)); empty if it is cut."""
    header_bytes = (packet[0] & 0x0F) * 4 if packet else 0
    return packet[header_bytes:] if header_bytes >= 20 else b""


def encode_filter(*, ipv6: bool) -> bytes:
    """A classic BPF program that lets only ECHO_SPI through: `struct sock_filter[]` (filter.h).

    A raw socket of protocol 50 would otherwise queue a copy of every ESP packet of the node. An
    IPv6 raw socket's data begins behind the IP header, an IPv4 one's with it.
    """
    load_word_absolute, load_word_indexed, load_header_length = 0x20, 0x40, 0xB1
    jump_equal, return_constant = 0x15, 0x06
    load = [(load_word_absolute, 0, 0, 0)]
    if not ipv6:
        load = [(load_header_length, 0, 0, 0), (load_word_indexed, 0, 0, 0)]
    program = [
        *load,
        (jump_equal, 0, 1, ECHO_SPI),
        (return_constant, 0, 0, 0xFFFF),
        (return_constant, 0, 0, 0),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
