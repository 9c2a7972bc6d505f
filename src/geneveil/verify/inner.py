"""What a marked packet is: its addresses, protocol, and whether it asks or answers.

An ICMP error quotes the packet that caused it, mark and all: the quoted packet is then the one
that became readable, so it is the one that counts.

Source: RFC 792, RFC 4443 (types), RFC 1812 4.3.2.3 (what an error quotes).
"""

from typing import NamedTuple

from geneveil.verify.flows import Direction, Protocol
from geneveil.verify.packet import (
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    IpPacket,
    parse_ip,
)

_ECHO = {
    (PROTOCOL_ICMP, 8): Direction.REQUEST,
    (PROTOCOL_ICMP, 0): Direction.REPLY,
    (PROTOCOL_ICMPV6, 128): Direction.REQUEST,
    (PROTOCOL_ICMPV6, 129): Direction.REPLY,
}
_ERRORS = frozenset(
    {(PROTOCOL_ICMP, t) for t in (3, 4, 5, 11, 12)} | {(PROTOCOL_ICMPV6, t) for t in (1, 2, 3, 4)}
)
_PROTOCOLS = {
    PROTOCOL_TCP: Protocol.TCP,
    PROTOCOL_UDP: Protocol.UDP,
    PROTOCOL_ICMP: Protocol.ICMP,
    PROTOCOL_ICMPV6: Protocol.ICMP,
}
# By the length of an address.
_HEADER_BYTES = {4: 20, 16: 40}


class Inner(NamedTuple):
    """A packet that a pod or host-network pod sent.

    Attributes:
        source: packed address.
        destination: packed address.
        protocol: None if it is none of TCP, UDP, ICMP.
        echo: request or reply, for an ICMP echo; else None.
        packet_bytes: its length; options and extension headers are not counted.
        quoted: true if this packet was only quoted by an ICMP error.
    """

    source: bytes
    destination: bytes
    protocol: Protocol | None
    echo: Direction | None
    packet_bytes: int
    quoted: bool = False


def describe_inner(packet: IpPacket) -> Inner:
    """Say what an IP packet is, looking through an ICMP error at the packet it quotes."""
    kind = (packet.protocol, packet.payload[0] if packet.payload else -1)
    if kind in _ERRORS and len(packet.payload) > 8:
        quoted = _parse_quoted(packet.payload[8:])
        if quoted is not None:
            return describe_inner(quoted)._replace(quoted=True)
    return Inner(
        packet.source,
        packet.destination,
        _PROTOCOLS.get(packet.protocol),
        _ECHO.get(kind),
        _HEADER_BYTES[len(packet.source)] + len(packet.payload),
    )


def _parse_quoted(data: bytes) -> IpPacket | None:
    """A quoted packet is cut as a rule: its length field promises more than there is."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        return parse_ip(data[:2] + len(data).to_bytes(2, "big") + data[4:])
    if len(data) >= 40 and data[0] >> 4 == 6:
        return parse_ip(data[:4] + (len(data) - 40).to_bytes(2, "big") + data[6:])
    return None
