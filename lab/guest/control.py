"""Runs in a guest: puts one Geneve frame in clear on the underlay, past nftables and IPsec.

A packet socket writes below both. This is the control of every "nothing in clear": the witness must
see this frame. It is addressed to nobody: a locally administered MAC that no card has, and an
address of the underlay that no node has.

    control.py SOURCE_ADDRESS DESTINATION_ADDRESS PORT
"""

import socket
import struct
import sys

_ETHERTYPE_IPV4, _ETHERTYPE_IPV6 = 0x0800, 0x86DD
_UDP = 17
_PAYLOAD = b"geneveil: a control frame, in clear on purpose"


def main() -> None:
    family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
    source, destination = (socket.inet_pton(family, text) for text in sys.argv[1:3])
    # RFC 8926: version 0, no options, protocol type 0x6558 (Ethernet), VNI 0.
    geneve = struct.pack("!BBHI", 0, 0, 0x6558, 0) + _PAYLOAD
    udp = struct.pack("!HHHH", 40000, int(sys.argv[3]), 8 + len(geneve), 0) + geneve
    if family == socket.AF_INET6:
        ethertype, packet = _ETHERTYPE_IPV6, ipv6_packet(source, destination, udp)
    else:
        ethertype, packet = _ETHERTYPE_IPV4, ipv4_packet(source, destination, udp)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as card:
        card.bind(("eth0", ethertype))
        ethernet = bytes.fromhex("020000000001") + card.getsockname()[4]
        card.send(ethernet + struct.pack("!H", ethertype) + packet)


def ipv4_packet(source: bytes, destination: bytes, udp: bytes) -> bytes:
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 1, _UDP, 0, source, destination
    )
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + udp


def ipv6_packet(source: bytes, destination: bytes, udp: bytes) -> bytes:
    # UDP without a checksum is not allowed over IPv6 (RFC 8200, 8.1).
    pseudo = source + destination + struct.pack("!II", len(udp), _UDP)
    udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp)) + udp[8:]
    return struct.pack("!IHBB", 6 << 28, len(udp), _UDP, 1) + source + destination + udp


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


if __name__ == "__main__":
    main()
