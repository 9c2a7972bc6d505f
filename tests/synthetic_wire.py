"""Builds frames byte by byte for the judge's tests, independently of the code that parses them.

Cross-checked in test_verify_golden.py: the same parser reads what a real kernel put on a wire, and
scapy opens what is sealed here.
"""

import struct
from ipaddress import ip_address

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from geneveil.verify.evidence import SaKey

ICMP, IPIP, TCP, UDP, ESP, ICMPV6 = 1, 4, 6, 17, 50, 58


def ethernet(payload: bytes, *, ethertype: int | None = None, vlan: int | None = None) -> bytes:
    kind = ethertype or (0x86DD if payload[0] >> 4 == 6 else 0x0800)
    tag = struct.pack("!HH", 0x8100, vlan) if vlan is not None else b""
    frame = bytes.fromhex("020000000002020000000001") + tag + struct.pack("!H", kind) + payload
    return frame.ljust(60, b"\0")


def ip(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    identification: int = 1,
    offset: int = 0,
    more: bool = False,
) -> bytes:
    a, b = ip_address(source).packed, ip_address(destination).packed
    if len(a) == 16:
        extension = b""
        if offset or more:
            word = offset | int(more)
            extension = struct.pack("!BBHI", protocol, 0, word, identification)
            protocol = 44
        length = len(extension) + len(payload)
        return struct.pack("!IHBB", 6 << 28, length, protocol, 64) + a + b + extension + payload
    flags = (0x2000 if more else 0) | (offset // 8)
    head = struct.pack(
        "!BBHHHBBH", 0x45, 0, 20 + len(payload), identification, flags, 64, protocol, 0
    )
    return head + a + b + payload


def fragments(
    source: str, destination: str, protocol: int, payload: bytes, size: int
) -> list[bytes]:
    """An IP packet cut into pieces of `size` bytes, a multiple of 8."""
    return [
        ip(
            source,
            destination,
            protocol,
            payload[start : start + size],
            identification=77,
            offset=start,
            more=start + size < len(payload),
        )
        for start in range(0, len(payload), size)
    ]


def udp(source_port: int, destination_port: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), 0) + payload


def tcp(source_port: int, destination_port: int, payload: bytes) -> bytes:
    return (
        struct.pack("!HHIIBBHHH", source_port, destination_port, 1, 1, 0x50, 0x18, 64, 0, 0)
        + payload
    )


def icmp(kind: int, payload: bytes) -> bytes:
    return struct.pack("!BBHHH", kind, 0, 0, 1, 1) + payload


def ike(content: bytes) -> bytes:
    """An IKEv2 message: SPIs, next payload, version, exchange, flags, number, length."""
    return (
        bytes(range(16)) + struct.pack("!BBBBII", 33, 0x20, 34, 8, 0, 28 + len(content)) + content
    )


def geneve(inner: bytes, *, options: bytes = b"\x01\x02\x80\x01\0\0\0\x07") -> bytes:
    """A Geneve packet with an OVN-like option."""
    return struct.pack("!BBHI", len(options) // 4, 0x40, 0x6558, 5 << 8) + options + inner


def seal(sa: SaKey, sequence: int, payload: bytes, *, next_header: int = UDP) -> bytes:
    """An ESP packet (RFC 4303, RFC 4106) from SPI to ICV; `sequence` has 64 bits."""
    padding = -(len(payload) + 2) % 4
    plain = payload + bytes(range(1, padding + 1)) + bytes((padding, next_header))
    low, high = sequence & 0xFFFFFFFF, sequence >> 32
    head = struct.pack("!II", sa.spi, low)
    associated = struct.pack("!III", sa.spi, high, low) if sa.esn else head
    iv = struct.pack("!Q", sequence)
    encryptor = Cipher(AES(sa.key), GCM(sa.salt + iv)).encryptor()
    encryptor.authenticate_additional_data(associated)
    sealed = encryptor.update(plain) + encryptor.finalize()
    return head + iv + sealed + encryptor.tag[: sa.icv_bits // 8]
