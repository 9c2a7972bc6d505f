"""Somebody on the underlay who is no node: what he sends, and what tells it from nodes' frames.

Frames come from the lab's own end of the underlay bridge, so from outside all guests, with a source
MAC that no guest has: nothing that a node sends looks so.
"""

import asyncio
import os
import struct
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from geneveil.capture.io import open_capture
from lab.bringup import Running
from lab.capture_slice import CaptureSlice
from lab.errors import LabError
from lab.geneve_shape import GENEVE
from lab.spec import UNDERLAY_BRIDGE
from lab.topology import CENTRAL, GENEVE_PORT, Node, Pod

INTRUDER_MAC = "02:67:76:ff:00:ff"
GENEVE_IN_CLEAR = f"{GENEVE} and not ether src {INTRUDER_MAC}"
"""What the witness must never see, on any port; what an intruder sends is not the nodes' doing."""

NOBODY_LISTENS = 9
"""A UDP port of a pod that nobody has: the pod's kernel counts what comes (`UdpNoPorts`)."""

_ETHERTYPE_IPV4, _UDP, _ESP = 0x0800, 17, 50
_REPLAY = Path(__file__).parent / "guest" / "replay.py"
_OVN_CLASS, _OVN_PORTS = 0x0102, 0x80


@dataclass(frozen=True)
class LogicalPath:
    """Where OVN takes what comes out of a tunnel: its numbers in the Southbound database."""

    datapath: int
    ingress: int
    egress: int


async def read_path(running: Running, node: Node, pod: Pod) -> LogicalPath:
    """From the router's port of a node's switch to one of its pods."""

    async def key(table: str, condition: str) -> int:
        text = await running.remote(CENTRAL).check(
            f"ovn-sbctl --bare --columns=tunnel_key find {table} {condition}"
        )
        return int(text)

    return LogicalPath(
        await key("datapath_binding", f"external_ids:name={node.name}"),
        await key("port_binding", f"logical_port=stor-{node.name}"),
        await key("port_binding", f"logical_port={pod.logical_port}"),
    )


def forge_geneve(claimed: Node, victim: Node, pod: Pod, path: LogicalPath) -> bytes:
    """One Ethernet frame: Geneve in clear, in `claimed`'s name, with a UDP packet for a pod.

    It is what OVN's own tunnels carry (ovn-architecture(7), "Tunnel Encapsulations"): without IPsec
    the pod gets it.
    """
    sender = claimed.pods[0]
    inner = _ethernet(pod.mac, victim.router_mac) + _ipv4(
        sender.address.ip, pod.address.ip, _UDP, _udp(40001, NOBODY_LISTENS, b"geneveil: forged")
    )
    ports = struct.pack("!I", path.ingress << 16 | path.egress)
    # RFC 8926, 3.4: version 0, one option of four bytes behind its header; critical; Ethernet.
    header = struct.pack("!BBHI", 2, 0x40, 0x6558, path.datapath << 8)
    option = struct.pack("!HBB", _OVN_CLASS, _OVN_PORTS, 1) + ports
    outer = _udp(40000, GENEVE_PORT, header + option + inner)
    source, destination = claimed.underlay.ip, victim.underlay.ip
    assert isinstance(source, IPv4Address) and isinstance(destination, IPv4Address)  # noqa: S101
    return _ethernet(victim.underlay_mac, INTRUDER_MAC) + _ipv4(source, destination, _UDP, outer)


def record_esp(frames: CaptureSlice, source: Node, destination: Node, copy: Path) -> list[bytes]:
    """What one node sent another in ESP, to be sent once more: whole frames, as the witness saw.

    Args:
        copy: where the part of the capture may be put.
    """
    frames.copy(copy)
    ends = source.underlay.ip.packed + destination.underlay.ip.packed
    with open_capture(copy) as capture:
        found = [
            bytes(frame.data[:6]) + _mac(INTRUDER_MAC) + bytes(frame.data[12:])
            for frame in capture.frames
            if frame.data[23] == _ESP and frame.data[26:34] == ends
        ]
    copy.unlink()
    return found


async def send(
    running: Running, frames: list[bytes], rounds: int = 1, pause_seconds: float = 0
) -> None:
    """Put frames on the wire, all of them in every round.

    Raises:
        LabError: they could not be sent.
    """
    pid = (running.layout.run_dir / "pid").read_text().strip()
    user = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
    process = await asyncio.create_subprocess_exec(
        *("nsenter", "--target", pid, "--net", *user),
        *(sys.executable, "-I", str(_REPLAY), UNDERLAY_BRIDGE, str(rounds), str(pause_seconds)),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    lines = "".join(frame.hex() + "\n" for frame in frames)
    _, errors = await process.communicate(lines.encode())
    if process.returncode:
        raise LabError("the intruder could not send", why=errors.decode()[-300:])


async def unclaimed_udp(running: Running, pod: Pod) -> int:
    """How many UDP packets came to the pod for a port that nobody has."""
    text = await running.remote(pod.node).check(f"ip netns exec {pod.namespace} cat /proc/net/snmp")
    names, values = (line.split() for line in text.splitlines() if line.startswith("Udp:"))
    return int(values[names.index("NoPorts")])


def _ethernet(destination: str, source: str) -> bytes:
    return _mac(destination) + _mac(source) + struct.pack("!H", _ETHERTYPE_IPV4)


def _mac(text: str) -> bytes:
    return bytes(int(part, 16) for part in text.split(":"))


def _udp(source: int, destination: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


def _ipv4(source: IPv4Address, destination: IPv4Address, protocol: int, payload: bytes) -> bytes:
    ends = source.packed + destination.packed
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + ends
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return header[:10] + struct.pack("!H", checksum) + header[12:] + payload
