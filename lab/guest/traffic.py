"""Runs in a guest: steady numbered traffic from this node's pod to the pods of other nodes.

UDP: a fixed rate of numbered packets to each target; the receiver notes every number that never
came. TCP: one connection to each target that is never closed, numbered chunks at a fixed rate; the
receiver notes breaks and the longest silence. Times are monotonic, so that a clock that jumps years
ahead changes nothing here.

    traffic.py NAMESPACE {"name": "node1", "targets": {"node2": [UDP_ADDRESS, TCP_ADDRESS], ...},
        "udp_a_second": 500}

Waits for the namespace, so that it can be started while the guest still boots. Listens from the
start; {"op": "start"} begins to send, {"op": "stop"} ends it, {"op": "report"} tells,
{"op": "sent"} says what was sent so far, {"op": "hush"} too, and counts silences anew,
{"op": "when"} says when numbered packets were sent. JSON, one object a line.
Standard library only.
"""

import asyncio
import errno
import json
import os
import socket
import struct
import sys
import time
from array import array
from bisect import bisect_right
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

UDP_PORT, TCP_PORT = 7101, 7102
_TICK_SECONDS = 0.02
_UDP_PAYLOAD_BYTES = 200
_LARGEST_BURST = 50
"""A program that was not let run for a second would send a second's packets at once, and a machine
that is busy loses some of them, which says nothing about what is being tested."""
_TCP_CHUNK_BYTES = 512
# socket(7); the module does not name them.
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_HEADER = struct.Struct("!16sQ")
_RETRY_SECONDS = 0.2
_NAMESPACE_SECONDS = 0.02


class Flow:
    """What one sender's packets looked like from here."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.received = 0
        self.duplicates = 0

    def take(self, number: int) -> None:
        if number >= len(self.seen):
            self.seen.extend(bytes(number + 4096 - len(self.seen)))
        if self.seen[number]:
            self.duplicates += 1
        else:
            self.seen[number] = 1
            self.received += 1

    def missing(self, first: int, total: int) -> list[list[int]]:
        """Ranges of numbers from `first` and below `total` that never came."""
        ranges: list[list[int]] = []
        for number in range(first, total):
            if number < len(self.seen) and self.seen[number]:
                continue
            if ranges and ranges[-1][1] == number - 1:
                ranges[-1][1] = number
            else:
                ranges.append([number, number])
        return ranges


class Stream:
    """A TCP connection's far end: in order, or broken."""

    def __init__(self) -> None:
        self.chunks = 0
        self.next = 0
        self.breaks = 0
        self.longest_silence_seconds = 0.0
        self.last: float | None = None

    def take(self, number: int) -> None:
        now = time.monotonic()
        if self.last is not None:
            self.longest_silence_seconds = max(self.longest_silence_seconds, now - self.last)
        self.last = now
        if number != self.next:
            self.breaks += 1
        self.next = number + 1
        self.chunks += 1


class Bursts:
    """When packets were sent. All targets get the same numbers at the same time."""

    def __init__(self) -> None:
        self.firsts = array("Q")
        self.moments = array("d")
        self.sent = 0

    def note(self, packets: int, now: float) -> None:
        self.firsts.append(self.sent)
        self.moments.append(now)
        self.sent += packets

    def when(self, number: int, now: float) -> float:
        """When that packet was sent; `now` for one that was not yet."""
        index = bisect_right(self.firsts, number) - 1
        return self.moments[index] if index >= 0 and number < self.sent else now


class Traffic:
    def __init__(
        self,
        name: str,
        targets: dict[str, list[str]],
        udp_a_second: int,
        tick_seconds: float = _TICK_SECONDS,
    ) -> None:
        self.name = name
        self.tick_seconds = tick_seconds
        self.targets = targets
        self.udp_a_second = udp_a_second
        self.sent = dict.fromkeys(targets, 0)
        self.bursts = Bursts()
        self.send_errors: dict[str, int] = dict.fromkeys(targets, 0)
        self.sent_chunks = dict.fromkeys(targets, 0)
        self.connects = dict.fromkeys(targets, 0)
        self.flows: dict[str, Flow] = {}
        self.streams: dict[str, Stream] = {}
        self.sending = True
        self.tasks: set[asyncio.Task[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        incoming = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)  # both families
        incoming.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        incoming.setblocking(False)
        incoming.bind(("::", UDP_PORT))
        loop.add_reader(incoming, self.drain, incoming)
        self.server = await asyncio.start_server(self.accept, ["0.0.0.0", "::"], TCP_PORT)  # noqa: S104

    def send(self) -> None:
        self.start(self.send_datagrams())
        for target in self.targets:
            self.start(self.send_stream(target))

    def drain(self, incoming: socket.socket) -> None:
        for _ in range(512):
            try:
                data = incoming.recv(2048)
            except BlockingIOError:
                return
            sender, number = _HEADER.unpack_from(data)
            self.flows.setdefault(sender.rstrip(b"\0").decode(), Flow()).take(number)

    async def send_datagrams(self) -> None:
        outgoing = {}
        for target, (address, _) in self.targets.items():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            outgoing[target] = socket.socket(family, socket.SOCK_DGRAM)
            outgoing[target].setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 8 << 20)
        padding = bytes(_UDP_PAYLOAD_BYTES - _HEADER.size)
        name = self.name.encode()
        begun = time.monotonic()
        done = 0
        while self.sending:
            due = int((time.monotonic() - begun) * self.udp_a_second)
            packets = min(due - done, _LARGEST_BURST)
            if packets:
                self.bursts.note(packets, time.monotonic())
            for _ in range(packets):
                for target, (address, _) in self.targets.items():
                    packet = _HEADER.pack(name, self.sent[target]) + padding
                    try:
                        outgoing[target].sendto(packet, (address, UDP_PORT))
                    except OSError:
                        # Counted as sent: whoever expects it will miss it.
                        self.send_errors[target] += 1
                    self.sent[target] += 1
            done = due
            await asyncio.sleep(self.tick_seconds)

    async def send_stream(self, target: str) -> None:
        padding = bytes(_TCP_CHUNK_BYTES - _HEADER.size)
        name = self.name.encode()
        while self.sending:
            try:
                _, writer = await asyncio.open_connection(self.targets[target][1], TCP_PORT)
                self.connects[target] += 1
                while self.sending:
                    writer.write(_HEADER.pack(name, self.sent_chunks[target]) + padding)
                    self.sent_chunks[target] += 1
                    await writer.drain()
                    await asyncio.sleep(_TICK_SECONDS)
                writer.close()
            except OSError:
                await asyncio.sleep(_RETRY_SECONDS)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                data = await reader.readexactly(_TCP_CHUNK_BYTES)
                sender, number = _HEADER.unpack_from(data)
                self.streams.setdefault(sender.rstrip(b"\0").decode(), Stream()).take(number)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    def report(self, totals: dict[str, int], firsts: dict[str, int]) -> dict[str, Any]:
        """What came from each sender; `totals` says how many each had sent, `firsts` from which
        number on is asked."""
        return {
            "flows": {
                sender: {
                    "received": flow.received,
                    "duplicates": flow.duplicates,
                    "missing": flow.missing(firsts.get(sender, 0), totals.get(sender, 0)),
                }
                for sender, flow in self.flows.items()
            },
            "streams": {
                sender: {
                    "chunks": stream.chunks,
                    "breaks": stream.breaks,
                    "longest_silence_seconds": round(stream.longest_silence_seconds, 3),
                }
                for sender, stream in self.streams.items()
            },
        }

    def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        if order["op"] == "start":
            self.send()
            return {"now": time.monotonic()}
        if order["op"] == "stop":
            self.sending = False
        if order["op"] == "hush":
            for stream in self.streams.values():
                stream.longest_silence_seconds = 0.0
        if order["op"] in ("stop", "sent", "hush"):
            return {
                "now": time.monotonic(),
                "sent": self.sent,
                "send_errors": self.send_errors,
                "chunks": self.sent_chunks,
                "connects": self.connects,
            }
        if order["op"] == "report":
            return self.report(order["totals"], order.get("firsts", {}))
        if order["op"] == "when":
            now = time.monotonic()
            return {"now": now, "at": [self.bursts.when(n, now) for n in order["numbers"]]}
        raise ValueError(f"unknown op {order['op']!r}")


def _entered(namespace: Path) -> bool:
    """Whether this process is in the namespace now; not while it is still being made: ip-netns(8)
    makes a file first, and mounts the namespace on it then."""
    try:
        handle = os.open(namespace, os.O_RDONLY)
        os.setns(handle)  # type: ignore[attr-defined]  # Python 3.12
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):
            return False
        raise
    return True


async def main(make: Callable[..., Traffic] = Traffic) -> None:
    while not _entered(Path("/run/netns") / sys.argv[1]):
        time.sleep(_NAMESPACE_SECONDS)
    traffic = make(**json.loads(sys.argv[2]))
    await traffic.run()
    reader = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    print(json.dumps({"ready": True}), flush=True)
    while line := await reader.readline():
        print(json.dumps(traffic.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
