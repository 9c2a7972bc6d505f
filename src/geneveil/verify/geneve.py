"""Geneve: what it carries, and how to know it when it does not use its port, or is wrapped.

Source: RFC 8926, 3.4 (header: reserved bits are ignored by who receives it), 3.5 (options).
"""

from geneveil.verify.packet import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ethernet_payload,
    parse_ip,
)

_HEADER_BYTES = 8
_RESERVED_FLAGS = 0x3F
_TYPE_AT = 2
_RESERVED_AT = 7
_ETHERNET_IN_GENEVE = b"\x65\x58"
_IP_IN_GENEVE = frozenset({b"\x08\x00", b"\x86\xdd"})
_INNER = frozenset({ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP})
_ARP_OVER_ETHERNET = b"\0\1\x08\0"


def geneve_payload(data: bytes) -> bytes | None:
    """The Ethernet frame in a Geneve packet (a UDP payload), or None if it is not one."""
    if len(data) < _HEADER_BYTES or data[0] & 0xC0 or data[2:4] != _ETHERNET_IN_GENEVE:
        return None
    start = _HEADER_BYTES + (data[0] & 0x3F) * 4
    return data[start:] if len(data) > start else None


def looks_like_geneve(data: bytes) -> bool:
    """True if a UDP payload is Geneve by its shape, whatever its port.

    A tunnel on a port that nobody was told of would otherwise travel in clear unnoticed. Version
    0, Ethernet inside and every reserved bit zero, as each sender has to leave them; or version 0
    and Ethernet inside, and in it IP or ARP; or version 0 and an IP packet inside that ends where
    the datagram ends. In the last two reserved bits may be anything: no receiver looks at them.
    """
    inner = geneve_payload(data)
    if inner is not None:
        if not data[1] & _RESERVED_FLAGS and not data[_RESERVED_AT]:
            return True
        found = ethernet_payload(inner)
        return found is not None and found[0] in _INNER
    if len(data) < _HEADER_BYTES or data[0] & 0xC0 or data[2:4] not in _IP_IN_GENEVE:
        return False
    start = _HEADER_BYTES + (data[0] & 0x3F) * 4
    return parse_ip(data, start) is not None and _ends_with(data, start)


def _ends_with(data: bytes, start: int) -> bool:
    """The length that an IP header states is what there is."""
    at, more = (start + 2, 0) if data[start] >> 4 == 4 else (start + 4, 40)
    return int.from_bytes(data[at : at + 2], "big") + more == len(data) - start


def find_geneve(data: bytes) -> int | None:
    """Where the first Geneve header is, anywhere in some bytes; None if there is none.

    For whatever may be wrapped around it: IP in IP, UDP-Lite, an ICMP error that quotes it. Asks
    for more than `looks_like_geneve`, because every place in every packet is tried: the inner
    frame must hold the beginning of an IP or ARP header, not its type alone.
    """
    at = data.find(_ETHERNET_IN_GENEVE, _TYPE_AT)
    while at >= 0:
        start = at - _TYPE_AT
        if not data[start] & 0xC0 and holds_packet(
            data, start + _HEADER_BYTES + (data[start] & 0x3F) * 4
        ):
            return start
        at = data.find(_ETHERNET_IN_GENEVE, at + 1)
    return None


def holds_packet(data: bytes, start: int) -> bool:
    """True if an Ethernet frame with the beginning of an IP or ARP header is at `start`."""
    frame = data[start:]
    found = ethernet_payload(frame)
    if found is None or found[0] not in _INNER:
        return False
    head = frame[found[1] : found[1] + 4]
    if found[0] == ETHERTYPE_ARP:
        return head == _ARP_OVER_ETHERNET
    if not head:
        return False
    if found[0] == ETHERTYPE_IPV6:
        return head[0] >> 4 == 6
    return head[0] >> 4 == 4 and head[0] & 0x0F >= 5
