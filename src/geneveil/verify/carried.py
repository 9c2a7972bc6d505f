"""What an ESP packet carried: opened with a key, or readable without any.

ESP need not encrypt: with the NULL cipher (RFC 2410) what it carries stands readable right after
SPI and sequence number. Whoever holds no key to such a packet could take it for closed.
"""

from collections.abc import Container

from geneveil.verify.esp import HEADER_BYTES, Opened
from geneveil.verify.flows import Carrier
from geneveil.verify.geneve import find_geneve, geneve_payload, looks_like_geneve
from geneveil.verify.inner import Inner, describe_inner
from geneveil.verify.packet import (
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    PROTOCOL_UDP,
    Udp,
    ethernet_payload,
    parse_ip,
    parse_udp,
)


def geneve_inside(opened: Opened, geneve_ports: Container[int]) -> bytes | None:
    """The Geneve packet that was sealed, in transport mode or in a tunnel's inner packet."""
    udp: Udp | None = None
    if opened.mode == "tunnel":
        udp = _udp_in_ip(opened.payload)
    elif opened.next_header == PROTOCOL_UDP:
        udp = parse_udp(opened.payload)
    if udp is None or udp.destination_port not in geneve_ports:
        return None
    return udp.payload


def explain_opened(opened: Opened, geneve: bytes | None) -> tuple[Carrier, Inner | None]:
    """What a mark rode in inside ESP, and the packet that its sender made."""
    if geneve is not None:
        inner = inner_of_geneve(geneve)
        return (Carrier.OTHER if inner is None else Carrier.GENEVE), inner
    if opened.mode == "tunnel":
        packet = parse_ip(opened.payload)
        return Carrier.PLAIN_IP, describe_inner(packet) if packet is not None else None
    return Carrier.OTHER, None


def inner_of_geneve(geneve: bytes) -> Inner | None:
    """The IP packet in the Ethernet frame in a Geneve packet; None if it is none."""
    ethernet = geneve_payload(geneve)
    found = ethernet_payload(ethernet) if ethernet is not None else None
    if ethernet is None or found is None or found[0] not in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        return None
    packet = parse_ip(ethernet, found[1])
    return describe_inner(packet) if packet is not None else None


def readable_geneve_port(esp: bytes) -> int | None:
    """Where the Geneve goes that can be read in ESP without a key; None if there is none to read.

    By its shape alone, in UDP or in a tunnel's IP packet where they would begin, or in Ethernet
    anywhere. What is encrypted has such a shape by chance once in more than 10^10 bytes.
    """
    plain = esp[HEADER_BYTES:]
    for udp in (parse_udp(plain), _udp_in_ip(plain)):
        if udp is not None and looks_like_geneve(udp.payload):
            return udp.destination_port
    start = find_geneve(plain)
    return None if start is None else port_before(plain, start)


def port_before(data: bytes, start: int) -> int:
    """The destination port of a UDP (or UDP-Lite) header that ends where Geneve's begins."""
    return int.from_bytes(data[:start][-6:-4], "big")


def _udp_in_ip(data: bytes) -> Udp | None:
    packet = parse_ip(data)
    if packet is None or packet.protocol != PROTOCOL_UDP:
        return None
    return parse_udp(packet.payload)
