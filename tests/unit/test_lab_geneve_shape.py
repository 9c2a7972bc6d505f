"""The witness's filter against real tcpdump: Geneve on any port, and what only resembles it."""

import shutil
import struct
import subprocess
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest

from lab.geneve_shape import GENEVE
from lab.intruder import GENEVE_IN_CLEAR, INTRUDER_MAC

NODE_MAC = "02:67:76:01:00:01"
UDP, TCP, FRAGMENT, ICMP, ICMPV6 = 17, 6, 44, 1, 58
FOUR, SIX = ("192.0.2.1", "192.0.2.2"), ("2001:db8:2::1", "2001:db8:2::2")
OVN_OPTION = struct.pack("!HBBI", 0x0102, 0x80, 1, 0x10002)


def geneve(first: int = 2, second: int = 0x40, protocol: int = 0x6558, reserved: int = 0) -> bytes:
    """A tunnel's packet as OVN makes it: one critical option, an Ethernet frame."""
    header = struct.pack("!BBHI", first, second, protocol, 7 << 8 | reserved)
    return header + OVN_OPTION + bytes(60)


def udp(port: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload


def frame(ends: tuple[str, str], protocol: int, data: bytes, options: bytes = b"") -> bytes:
    source, destination = (ip_address(one) for one in ends)
    if isinstance(source, IPv4Address):
        words = 5 + len(options) // 4
        header = struct.pack(
            "!BBHHHBBH", 0x40 | words, 0, words * 4 + len(data), 1, 0, 64, protocol, 0
        )
        packet = header + source.packed + destination.packed + options
    else:
        assert isinstance(source, IPv6Address)
        packet = struct.pack("!IHBB", 6 << 28, len(data), protocol, 64)
        packet += source.packed + destination.packed
    kind = b"\x08\x00" if isinstance(source, IPv4Address) else b"\x86\xdd"
    return bytes(6) + bytes.fromhex(NODE_MAC.replace(":", "")) + kind + packet + data


def first_fragment(data: bytes) -> bytes:
    return struct.pack("!BBHI", UDP, 0, 1, 7) + data


def icmp_error(ends: tuple[str, str], port: int, payload: bytes) -> bytes:
    """Port unreachable, which quotes the packet whole."""
    is_six = ":" in ends[0]
    quoted = frame(ends, UDP, udp(port, payload))[14:]
    begin = struct.pack("!BBHI", *((1, 4) if is_six else (3, 3)), 0, 0)
    return frame((ends[1], ends[0]), ICMPV6 if is_six else ICMP, begin + quoted)


IS_GENEVE = {
    "to its own port": frame(FOUR, UDP, udp(6081, geneve())),
    "to another": frame(FOUR, UDP, udp(7000, geneve())),
    "to that of ESP in UDP": frame(FOUR, UDP, udp(4500, geneve())),
    "without options": frame(FOUR, UDP, udp(7000, geneve(first=0, second=0))),
    "OAM": frame(FOUR, UDP, udp(7000, geneve(second=0x80))),
    "behind IPv4 options": frame(FOUR, UDP, udp(7000, geneve()), options=b"\x01" * 8),
    "in IPv6": frame(SIX, UDP, udp(6081, geneve())),
    "in IPv6 to another": frame(SIX, UDP, udp(7000, geneve())),
    "in an IPv6 fragment": frame(SIX, FRAGMENT, first_fragment(udp(7000, geneve()))),
    "to its own port in another shape": frame(FOUR, UDP, udp(6081, b"\xff" * 40)),
    "quoted by an ICMP error": icmp_error(FOUR, 6081, b"\xff" * 40),
    "quoted, to another port": icmp_error(FOUR, 7000, geneve()),
    "quoted by an ICMPv6 error": icmp_error(SIX, 6081, b"\xff" * 40),
    "quoted, to another port in IPv6": icmp_error(SIX, 7000, geneve()),
}
ESP_IN_UDP = struct.pack("!II", 0xC1234567, 9) + bytes(range(80))
RESEMBLES = {
    "ESP in UDP": frame(FOUR, UDP, udp(4500, ESP_IN_UDP)),
    "ESP in UDP over IPv6": frame(SIX, UDP, udp(4500, ESP_IN_UDP)),
    "a keepalive of NAT": frame(FOUR, UDP, udp(4500, b"\xff")),
    "IKE": frame(FOUR, UDP, udp(500, b"\x11" * 16 + bytes([33, 0x20, 34, 8]) + bytes(60))),
    "VXLAN": frame(FOUR, UDP, udp(4789, struct.pack("!BBHI", 8, 0, 0, 7 << 8) + bytes(60))),
    "another version": frame(FOUR, UDP, udp(7000, geneve(first=0x42))),
    "a reserved bit": frame(FOUR, UDP, udp(7000, geneve(second=0x41))),
    "another protocol": frame(FOUR, UDP, udp(7000, geneve(protocol=0x6559))),
    "the reserved byte": frame(FOUR, UDP, udp(7000, geneve(reserved=1))),
    "the same bytes in TCP": frame(FOUR, TCP, udp(7000, geneve())),
    "the same bytes in TCP over IPv6": frame(SIX, TCP, udp(7000, geneve())),
    "another version in IPv6": frame(SIX, UDP, udp(7000, geneve(first=0x42))),
    "a later IPv6 fragment": frame(
        SIX, FRAGMENT, struct.pack("!BBHI", UDP, 0, 64 << 3, 7) + udp(7000, geneve())
    ),
    "too short": frame(FOUR, UDP, udp(7000, geneve()[:6])),
    "an ICMP error about other UDP": icmp_error(FOUR, 7000, geneve(reserved=1)),
    "an ICMPv6 error about other UDP": icmp_error(SIX, 7000, geneve(reserved=1)),
}


def count(folder: Path, frames: list[bytes], expression: str) -> int:
    assert shutil.which("tcpdump"), "tcpdump is missing: the lab cannot do without"
    capture = folder / "frames.pcap"
    records = b"".join(struct.pack("=IIII", 1, 0, len(one), len(one)) + one for one in frames)
    capture.write_bytes(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + records)
    command = ["tcpdump", "-nr", str(capture), "--count", expression]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[0])


@pytest.mark.parametrize("name", IS_GENEVE)
def test_geneve_is_counted_on_any_port(name: str, tmp_path: Path) -> None:
    assert count(tmp_path, [IS_GENEVE[name]], GENEVE) == 1
    assert count(tmp_path, [IS_GENEVE[name]], GENEVE_IN_CLEAR) == 1


@pytest.mark.parametrize("name", RESEMBLES)
def test_what_only_resembles_it_is_not(name: str, tmp_path: Path) -> None:
    assert count(tmp_path, [RESEMBLES[name]], GENEVE) == 0


def test_what_the_intruder_sends_is_not_the_nodes_doing(tmp_path: Path) -> None:
    his = bytes.fromhex(INTRUDER_MAC.replace(":", ""))
    sent = [one[:6] + his + one[12:] for one in IS_GENEVE.values()]
    assert count(tmp_path, sent, GENEVE) == len(sent)
    assert count(tmp_path, sent, GENEVE_IN_CLEAR) == 0
