"""Runs in a guest: puts one Geneve frame in clear on the underlay, past nftables and IPsec.

A packet socket writes below both. This is the control of every "nothing in clear": the witness must
see this frame. It is addressed to nobody: a locally administered MAC that no card has, and an
address of the underlay that no node has.

    control.py SOURCE_ADDRESS DESTINATION_ADDRESS
"""

import socket
import struct
import sys

_ETHERTYPE_IPV4 = 0x0800
_GENEVE_PORT = 6081
_PAYLOAD = b"geneveil: a control frame, in clear on purpose"


def main() -> None:
    source, destination = (socket.inet_aton(text) for text in sys.argv[1:3])
    # RFC 8926: version 0, no options, protocol type 0x6558 (Ethernet), VNI 0.
    geneve = struct.pack("!BBHI", 0, 0, 0x6558, 0) + _PAYLOAD
    udp = struct.pack("!HHHH", 40000, _GENEVE_PORT, 8 + len(geneve), 0) + geneve
    header = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 1, 17, 0, source, destination
    )
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as card:
        card.bind(("eth0", _ETHERTYPE_IPV4))
        ethernet = bytes.fromhex("020000000001") + card.getsockname()[4]
        card.send(ethernet + struct.pack("!H", _ETHERTYPE_IPV4) + header + udp)


if __name__ == "__main__":
    main()
