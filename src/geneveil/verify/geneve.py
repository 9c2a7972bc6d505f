"""Geneve: what it carries, and how to know it when it does not use its port.

Source: RFC 8926, 3.4 (header), 3.5 (options).
"""

from geneveil.verify.packet import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ethernet_payload

_HEADER_BYTES = 8
_ETHERNET_IN_GENEVE = b"\x65\x58"
_INNER = frozenset({ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP})


def geneve_payload(data: bytes) -> bytes | None:
    """The Ethernet frame in a Geneve packet (a UDP payload), or None if it is not one."""
    if len(data) < _HEADER_BYTES or data[0] & 0xC0 or data[2:4] != _ETHERNET_IN_GENEVE:
        return None
    start = _HEADER_BYTES + (data[0] & 0x3F) * 4
    return data[start:] if len(data) > start else None


def looks_like_geneve(data: bytes) -> bool:
    """True if a UDP payload is Geneve by its shape, whatever its port.

    A tunnel on a port that nobody was told of would otherwise travel in clear unnoticed. Version
    0, Ethernet inside, reserved bits 0, and an inner frame that is IP or ARP: 60 bits have to be
    right, so chance does not make one.
    """
    if data[2:4] != _ETHERNET_IN_GENEVE or len(data) < _HEADER_BYTES + 14:
        return False
    if data[1] & 0x3F or data[7]:
        return False
    inner = geneve_payload(data)
    found = ethernet_payload(inner) if inner is not None else None
    return found is not None and found[0] in _INNER
