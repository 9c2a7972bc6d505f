"""Runs in a guest: sends marked packets from its namespaces and answers those that arrive.

One process a node holds sockets in the host's network namespace and in every pod's (a socket stays
in the namespace in which it was made). The lab speaks to it in JSON, one object a line:

    {"op": "expect", "replies": {MARK: REPLY_MARK}}   what to answer to a TCP or UDP mark
    {"op": "send", "probes": [{id, namespace, protocol, address, bytes, mark, reply}]}
                                                      -> {"sent": {id: error or ""}}
    {"op": "received"}                     -> {"received": [[namespace, protocol, MARK], ...]}

`received` says in which namespace a mark arrived; protocols in it are tcp, udp, icmp-request and
icmp-reply. "" is the host's namespace.
Standard library only; this file knows nothing about IPsec: a pod would not either.
"""

import asyncio
import json
import os
import socket
import struct
import sys
from typing import Any

PORT = 7007
_ATTEMPTS = 4
_ANSWER_SECONDS = 1.5
_MARK_BYTES = 16
# ip(7): set DF on every packet and never fragment here; EMSGSIZE tells if it is too long.
_IP_MTU_DISCOVER, _IP_PMTUDISC_DO = 10, 2
_IPV6_MTU_DISCOVER, _IPV6_PMTUDISC_DO = 23, 2
_ICMP_ECHO_REPLY, _ICMP_ECHO_REQUEST = 0, 8
_ICMP6_ECHO_REPLY, _ICMP6_ECHO_REQUEST = 129, 128
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Prober:
    """Sockets of one node, and what has arrived on them."""

    def __init__(self, namespaces: list[str]) -> None:
        self.root = os.open("/proc/self/ns/net", os.O_RDONLY)
        self.handles = {"": self.root}
        for name in namespaces:
            self.handles[name] = os.open(f"/run/netns/{name}", os.O_RDONLY)
        self.replies: dict[bytes, bytes] = {}
        self.received: set[tuple[str, str, bytes]] = set()
        self.arrived = asyncio.Condition()
        self.icmp: dict[tuple[str, int], socket.socket] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def socket_in(self, namespace: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        os.setns(self.handles[namespace])  # type: ignore[attr-defined]  # Python 3.12
        try:
            made = socket.socket(family, kind, protocol)
        finally:
            os.setns(self.root)  # type: ignore[attr-defined]
        made.setblocking(False)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _IPV6_PMTUDISC_DO)
            if kind != socket.SOCK_RAW:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
        return made

    def start(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def serve(self) -> None:
        for namespace in self.handles:
            for family in _FAMILIES:
                self.serve_family(namespace, family)

    def serve_family(self, namespace: str, family: int) -> None:
        anywhere = ("::" if family == socket.AF_INET6 else "0.0.0.0", PORT)  # noqa: S104  our own
        datagrams = self.socket_in(namespace, family, socket.SOCK_DGRAM)
        datagrams.bind(anywhere)
        self.start(self.answer_datagrams(datagrams, namespace))
        streams = self.socket_in(namespace, family, socket.SOCK_STREAM)
        streams.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        streams.bind(anywhere)
        streams.listen(64)
        self.start(self.accept_streams(streams, namespace))
        protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
        raw = self.socket_in(namespace, family, socket.SOCK_RAW, protocol)
        self.icmp[namespace, family] = raw
        self.start(self.watch_icmp(raw, family, namespace))

    async def note(self, namespace: str, protocol: str, mark: bytes) -> None:
        async with self.arrived:
            self.received.add((namespace, protocol, mark))
            self.arrived.notify_all()

    async def answer_datagrams(self, datagrams: socket.socket, namespace: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            data, sender = await loop.sock_recvfrom(datagrams, 65536)
            mark = data[:_MARK_BYTES]
            await self.note(namespace, "udp", mark)
            if reply := self.replies.get(mark):
                await loop.sock_sendto(datagrams, fill(reply, len(data)), sender)

    async def accept_streams(self, streams: socket.socket, namespace: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            peer, _ = await loop.sock_accept(streams)
            self.start(self.answer_stream(peer, namespace))

    async def answer_stream(self, peer: socket.socket, namespace: str) -> None:
        reader, writer = await asyncio.open_connection(sock=peer)
        try:
            head = await reader.readexactly(4)
            data = await reader.readexactly(struct.unpack("!I", head)[0])
            mark = data[:_MARK_BYTES]
            await self.note(namespace, "tcp", mark)
            if reply := self.replies.get(mark):
                writer.write(fill(reply, len(data)))
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    async def watch_icmp(self, raw: socket.socket, family: int, namespace: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            packet = await loop.sock_recv(raw, 65536)
            # A raw IPv4 socket delivers the IP header too, an IPv6 one does not: raw(7), ipv6(7).
            header_bytes = (packet[0] & 15) * 4 if family == socket.AF_INET else 0
            kind = packet[header_bytes]
            mark = packet[header_bytes + 8 : header_bytes + 8 + _MARK_BYTES]
            if kind in (_ICMP_ECHO_REQUEST, _ICMP6_ECHO_REQUEST):
                await self.note(namespace, "icmp-request", mark)
            elif kind in (_ICMP_ECHO_REPLY, _ICMP6_ECHO_REPLY):
                await self.note(namespace, "icmp-reply", mark)

    async def send(self, probe: dict[str, Any]) -> str:
        """Send until the answer has come; return why it did not."""
        sender = {"tcp": self.send_tcp, "udp": self.send_udp, "icmp": self.send_icmp}
        problem = ""
        for _ in range(_ATTEMPTS):
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await sender[probe["protocol"]](probe)
                return ""
            except TimeoutError:
                problem = "no answer"
            except (OSError, asyncio.IncompleteReadError) as error:
                problem = f"{type(error).__name__}: {error}"
                await asyncio.sleep(0.1)
        return problem

    async def send_udp(self, probe: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        with self.socket_in(probe["namespace"], family_of(probe), socket.SOCK_DGRAM) as link:
            payload = fill(bytes.fromhex(probe["mark"]), probe["bytes"])
            await loop.sock_connect(link, (probe["address"], PORT))
            await loop.sock_sendall(link, payload)
            data = await loop.sock_recv(link, 65536)
            await self.note(probe["namespace"], "udp", data[:_MARK_BYTES])

    async def send_tcp(self, probe: dict[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        with self.socket_in(probe["namespace"], family_of(probe), socket.SOCK_STREAM) as link:
            payload = fill(bytes.fromhex(probe["mark"]), probe["bytes"])
            await loop.sock_connect(link, (probe["address"], PORT))
            await loop.sock_sendall(link, struct.pack("!I", len(payload)) + payload)
            data = b""
            while len(data) < len(payload):
                chunk = await loop.sock_recv(link, 65536)
                if not chunk:
                    raise ConnectionResetError("closed before the whole answer came")
                data += chunk
            await self.note(probe["namespace"], "tcp", data[:_MARK_BYTES])

    async def send_icmp(self, probe: dict[str, Any]) -> None:
        mark = bytes.fromhex(probe["mark"])
        payload = fill(mark, probe["bytes"])
        family = family_of(probe)
        kind = _ICMP6_ECHO_REQUEST if family == socket.AF_INET6 else _ICMP_ECHO_REQUEST
        header = struct.pack("!BBHHH", kind, 0, 0, os.getpid() & 0xFFFF, 1)
        checksum = internet_checksum(header + payload)  # the kernel makes ICMPv6's: RFC 3542, 3.1
        packet = header[:2] + struct.pack("!H", checksum) + header[4:] + payload
        loop = asyncio.get_running_loop()
        await loop.sock_sendto(self.icmp[probe["namespace"], family], packet, (probe["address"], 0))
        async with self.arrived:
            reply = (probe["namespace"], "icmp-reply", mark)
            await self.arrived.wait_for(lambda: reply in self.received)

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["op"] == "expect":
            pairs = order["replies"].items()
            self.replies |= {bytes.fromhex(a): bytes.fromhex(b) for a, b in pairs}
            return {}
        if order["op"] == "send":
            problems = await asyncio.gather(*(self.send(probe) for probe in order["probes"]))
            return {"sent": {p["id"]: e for p, e in zip(order["probes"], problems, strict=True)}}
        if order["op"] == "received":
            return {"received": sorted([*where, mark.hex()] for *where, mark in self.received)}
        raise ValueError(f"unknown op {order['op']!r}")


def family_of(probe: dict[str, Any]) -> int:
    """By the look of the address."""
    return socket.AF_INET6 if ":" in probe["address"] else socket.AF_INET


def fill(mark: bytes, length: int) -> bytes:
    """The mark again and again, so that every segment of a long payload carries it whole."""
    return (mark * (length // len(mark) + 1))[:length]


def internet_checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


async def main() -> None:
    prober = Prober(sys.argv[1:])
    await prober.serve()
    reader = asyncio.StreamReader(limit=1 << 22)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"ready": True}), flush=True)
    while line := await reader.readline():
        print(json.dumps(await prober.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
