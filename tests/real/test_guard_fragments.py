"""Geneve in IPv6 fragments, which nothing puts together before the input hook of this kernel."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from geneveil.guard.io import NftGuard
from geneveil.model.guard import GuardCounter, GuardSpec
from tests.real.programs import network_namespace, run, wrapper

pytestmark = pytest.mark.real

TARGET = "2001:db8::1"
SOURCE = "2001:db8::2"
SEND = """
import socket, struct, sys
source, target, port, options, cut = *sys.argv[1:3], *map(int, sys.argv[3:])
pack = lambda address: socket.inet_pton(socket.AF_INET6, address)
data = bytes(range(64))
def checksum(parts):
    total = sum(struct.unpack('!%dH' % (len(parts) // 2), parts))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def udp(value):
    return struct.pack('!4H', 4000, port, 8 + len(data), value) + data
pseudo = pack(source) + pack(target) + struct.pack('!I3xB', 8 + len(data), 17)
whole = udp(checksum(pseudo + udp(0)))
if options:
    whole = bytes([17, 0, 1, 4, 0, 0, 0, 0]) + whole
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
for offset, end in ((0, cut), (cut, len(whole))):
    more = int(end < len(whole))
    number = port * 100 + cut + options
    part = struct.pack('!BBHI', 60 if options else 17, 0, offset | more, number)
    part += whole[offset:end]
    header = struct.pack('!IHBB', 6 << 28, len(part), 44, 64) + pack(source) + pack(target)
    s.sendto(header + part, (target, 0))
"""
RECEIVE = """
import socket
sockets = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(2)]
for s, port in zip(sockets, (6081, 6082)):
    s.bind(('::', port))
    s.settimeout(100)
print('ready', flush=True)
sockets[1].recv(100)  # the control is sent last
sockets[0].settimeout(2)  # sent before, and yet it may be taken in after, by another processor
try:
    sockets[0].recv(100)
    print('both')
except TimeoutError:
    print('control alone')
"""

PLAIN = (0, 8)
OPTIONS_THEN_HEADER = (1, 16)
HEADER_IN_THE_SECOND = (1, 8)
"""Whether destination options stand before UDP, and the first fragment's length in bytes."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[tuple[str, str, NftGuard]]:
    """Names of the sender's namespace and of the guarded one, and the guard."""
    with network_namespace() as name, network_namespace() as source:
        veth = ("link", "add", "to0", "type", "veth", "peer", "name", "eth0", "netns", source)
        run("ip", "-n", name, *veth)
        for namespace, device, address in ((name, "to0", TARGET), (source, "eth0", SOURCE)):
            run("ip", "-n", namespace, "addr", "add", f"{address}/64", "dev", device, "nodad")
            run("ip", "-n", namespace, "link", "set", device, "up")
        yield source, name, NftGuard(str(wrapper(tmp_path, "nft", name)))


def delivered(source: str, target: str, shape: tuple[int, int]) -> str:
    """What a program in `target` got, of a datagram to 6081 and then a plain one to 6082."""
    receive = ["ip", "netns", "exec", target, sys.executable, "-c", RECEIVE]
    with subprocess.Popen(receive, stdout=subprocess.PIPE, text=True) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == "ready\n"
        send = ("ip", "netns", "exec", source, sys.executable, "-c", SEND, SOURCE, TARGET)
        for port, (options, cut) in ((6081, shape), (6082, PLAIN)):
            run(*send, str(port), str(options), str(cut))
        return receiver.stdout.readline().strip()


@pytest.mark.parametrize("shape", [PLAIN, OPTIONS_THEN_HEADER])
def test_geneve_in_fragments_of_ipv6_is_dropped(
    node: tuple[str, str, NftGuard], shape: tuple[int, int]
) -> None:
    source, target, guard = node
    assert delivered(source, target, shape) == "both"  # the control: nothing else stops it
    guard.apply(GuardSpec((6081,)))
    assert delivered(source, target, shape) == "control alone"
    assert guard.read().counters[GuardCounter.CLEARTEXT_IN].packets == 1


def test_a_first_fragment_without_the_udp_header_is_thrown_away_by_the_kernel(
    node: tuple[str, str, NftGuard],
) -> None:
    """What the guard leaves to the kernel; without a guard, so that it is the kernel alone."""
    source, target, _guard = node
    assert delivered(source, target, HEADER_IN_THE_SECOND) == "control alone"
