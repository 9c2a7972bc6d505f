"""Names what has no place on the wire between nodes with IPsec on.

Whatever can carry another packet could carry Geneve in clear, and there are more ways to wrap a
packet than a judge can unwrap. So the other way round: ESP, IKE, ICMP, TCP and UDP are what nodes
and hosts need; all else is named, and so is UDP to a tunnel's port or in a tunnel's shape.

Source: IANA's registries of protocol and of port numbers; RFC 7348, 5 (VXLAN); RFC 7296, 3.1
(IKE header); RFC 3376 and RFC 2236 (IGMP); IEEE 802.1Q, 8.6.3 (addresses no bridge forwards).
"""

from geneveil.verify.geneve import holds_packet
from geneveil.verify.packet import (
    PROTOCOL_ESP,
    PROTOCOL_ICMP,
    PROTOCOL_ICMPV6,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
    IpPacket,
)

_PROTOCOLS = frozenset({PROTOCOL_ESP, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP})
_PROTOCOL_IGMP = 2
_NAMES = {
    4: "IPv4 in IP",
    41: "IPv6 in IP",
    47: "GRE",
    51: "AH",
    55: "minimal encapsulation",
    97: "Ethernet in IP",
    108: "IPComp",
    115: "L2TP",
    132: "SCTP",
    136: "UDP-Lite",
    137: "MPLS in IP",
}
# Destination ports below those that a kernel gives to clients, so that no answer goes to one.
_TUNNEL_PORTS = {
    1701: "L2TP",
    2152: "GTP-U",
    3544: "Teredo",
    4341: "LISP",
    4789: "VXLAN",
    4790: "VXLAN-GPE",
    6080: "GUE",
    6635: "MPLS in UDP",
    8472: "VXLAN",
}
_NEVER_FORWARDED = bytes.fromhex("0180c20000")  # and one more byte below 0x10
_IKE_HEADER_BYTES = 28
_IKE_MAJOR_VERSIONS = frozenset({1, 2})


def unexpected_frame(data: bytes, ethertype: int) -> str | None:
    """What a frame is that is neither IP nor ARP; None if no bridge would forward it."""
    if data.startswith(_NEVER_FORWARDED) and data[5] < 0x10:
        return None  # LLDP, spanning tree and their like end at the next port
    return f"Ethernet type {ethertype:#06x}"


def unexpected_protocol(packet: IpPacket) -> str | None:
    """What an IP packet carries, unless it is one of the few that are needed."""
    if packet.protocol in _PROTOCOLS:
        return None
    if packet.protocol == _PROTOCOL_IGMP and packet.destination[0] >> 4 == 0xE:
        return None
    name = _NAMES.get(packet.protocol)
    return f"IP protocol {packet.protocol}" + (f" ({name})" if name else "")


def unexpected_datagram(destination_port: int, payload: bytes) -> str | None:
    """Which tunnel a UDP datagram belongs to, by its port or its shape; None if to none.

    IKE, NAT-T and Geneve are told apart before and are not asked about here.
    """
    if name := _TUNNEL_PORTS.get(destination_port):
        return f"UDP {destination_port} ({name})"
    flagged = payload[:1] == b"\x08" and payload[1:4] == bytes(3) and payload[7:8] == b"\0"
    if flagged and holds_packet(payload, 8):
        return f"VXLAN to UDP {destination_port}"
    return None


def is_ike(message: bytes) -> bool:
    """True if the header of an IKE message agrees with its length."""
    return (
        len(message) >= _IKE_HEADER_BYTES
        and message[17] >> 4 in _IKE_MAJOR_VERSIONS
        and int.from_bytes(message[24:28], "big") == len(message)
    )
