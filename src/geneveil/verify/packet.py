"""Ethernet, IPv4 and IPv6: where a packet's addresses and payload are. No state.

Lengths in the headers decide, never the frame's: short Ethernet frames are padded, and an ESP
integrity check value ends where the IP packet ends. A header that contradicts the bytes at hand
gives None: the caller counts the frame as malformed, and it still has been searched for marks.

Source: RFC 791, RFC 8200 (and 6.1 of RFC 4302 for AH's length), IEEE 802.1Q.
"""

from ipaddress import ip_address
from typing import NamedTuple

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD
_VLAN_TAGS = frozenset({0x8100, 0x88A8, 0x9100})

LONGEST_IP_BYTES = 65535
PROTOCOL_ICMP = 1
PROTOCOL_IPV4 = 4
PROTOCOL_TCP = 6
PROTOCOL_UDP = 17
PROTOCOL_IPV6 = 41
PROTOCOL_FRAGMENT = 44
PROTOCOL_ESP = 50
PROTOCOL_AH = 51
PROTOCOL_ICMPV6 = 58
PROTOCOL_NONE = 59
# Hop-by-hop, routing, destination options, mobility, HIP, shim6: length in units of 8, less one.
_EXTENSIONS = frozenset({0, 43, 60, 135, 139, 140})


class Fragment(NamedTuple):
    """What a packet says about being a piece of another. Offset in bytes."""

    identification: int
    offset: int
    more: bool


class IpPacket(NamedTuple):
    """An IP packet. Addresses are packed (4 or 16 bytes), so that comparing them is cheap."""

    source: bytes
    destination: bytes
    protocol: int
    payload: bytes
    fragment: Fragment | None


def ethernet_payload(data: bytes) -> tuple[int, int] | None:
    """Ethertype and where the payload begins, VLAN tags skipped; None if the frame is too short."""
    offset = 12
    while True:
        if len(data) < offset + 2:
            return None
        ethertype = (data[offset] << 8) | data[offset + 1]
        if ethertype not in _VLAN_TAGS:
            return ethertype, offset + 2
        offset += 4


def parse_ip(data: bytes, start: int = 0) -> IpPacket | None:
    """The IP packet that begins at `start`; None if it is malformed or neither IPv4 nor IPv6."""
    if len(data) <= start:
        return None
    version = data[start] >> 4
    if version == 4:
        return _parse_ipv4(data, start)
    if version == 6:
        return _parse_ipv6(data, start)
    return None


def _parse_ipv4(data: bytes, start: int) -> IpPacket | None:
    available = len(data) - start
    header_bytes = (data[start] & 0x0F) * 4
    if header_bytes < 20 or available < header_bytes:
        return None
    total = (data[start + 2] << 8) | data[start + 3]
    if total == 0 and available > LONGEST_IP_BYTES:  # a GSO frame longer than the field can say
        total = available
    if total < header_bytes or total > available:
        return None
    flags = (data[start + 6] << 8) | data[start + 7]
    fragment = None
    if flags & 0x3FFF:
        identification = (data[start + 4] << 8) | data[start + 5]
        fragment = Fragment(identification, (flags & 0x1FFF) * 8, bool(flags & 0x2000))
    return IpPacket(
        data[start + 12 : start + 16],
        data[start + 16 : start + 20],
        data[start + 9],
        data[start + header_bytes : start + total],
        fragment,
    )


def _parse_ipv6(data: bytes, start: int) -> IpPacket | None:
    available = len(data) - start
    if available < 40:
        return None
    length = (data[start + 4] << 8) | data[start + 5]
    if length == 0 and available > LONGEST_IP_BYTES:  # a GSO frame, as above
        length = available - 40
    end = start + 40 + length
    if end > start + available:
        return None
    protocol, offset = data[start + 6], start + 40
    fragment = None
    while protocol in _EXTENSIONS or protocol in (PROTOCOL_FRAGMENT, PROTOCOL_AH):
        if offset + 8 > end:
            return None
        following, size = data[offset], (data[offset + 1] + 1) * 8
        if protocol == PROTOCOL_AH:
            size = (data[offset + 1] + 2) * 4
        if protocol == PROTOCOL_FRAGMENT:
            size = 8
            word = (data[offset + 2] << 8) | data[offset + 3]
            identification = int.from_bytes(data[offset + 4 : offset + 8], "big")
            fragment = Fragment(identification, word & 0xFFF8, bool(word & 1))
        protocol, offset = following, offset + size
        if fragment is not None and fragment.offset:
            break  # what follows belongs to the middle of a payload
    if offset > end:
        return None
    return IpPacket(
        data[start + 8 : start + 24],
        data[start + 24 : start + 40],
        protocol,
        data[offset:end],
        fragment,
    )


class Udp(NamedTuple):
    """A UDP datagram; ports as numbers."""

    source_port: int
    destination_port: int
    payload: bytes


def parse_udp(payload: bytes) -> Udp | None:
    """The datagram in an IP payload; None if malformed. Length 0 means the rest (RFC 2675)."""
    if len(payload) < 8:
        return None
    length = (payload[4] << 8) | payload[5]
    if length == 0:
        length = len(payload)
    if length < 8 or length > len(payload):
        return None
    return Udp((payload[0] << 8) | payload[1], (payload[2] << 8) | payload[3], payload[8:length])


def pack_address(text: str) -> bytes:
    """Packed form of an address. Raises ValueError if it is none."""
    return ip_address(text).packed


def address_text(packed: bytes) -> str:
    """An address as people write it."""
    return str(ip_address(packed))
