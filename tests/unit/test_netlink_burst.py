"""What the kernel multicasts is handed over in bursts, each with an end."""

import errno
import os
import socket
from contextlib import closing

from geneveil.netlink.io import BURST_BYTES, RECEIVE_BYTES, _burst


class Flood(socket.socket):
    """Somebody changes something faster than it is read."""

    size_bytes = 1000

    def recv(self, most_bytes: int, _flags: int = 0) -> bytes:
        return bytes(min(self.size_bytes, most_bytes))


class Lossy(socket.socket):
    """The kernel had to throw some away."""

    def recv(self, _most_bytes: int, flags: int = 0) -> bytes:
        if flags & socket.MSG_DONTWAIT:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        return b"first"


def test_a_burst_without_end_is_cut() -> None:
    for size_bytes in (1000, RECEIVE_BYTES):
        with closing(Flood()) as sock:
            sock.size_bytes = size_bytes
            datagrams = _burst(sock)
        assert datagrams is not None
        gathered_bytes = sum(map(len, datagrams))
        assert BURST_BYTES <= gathered_bytes < BURST_BYTES + size_bytes


def test_what_is_there_comes_whole_and_in_order() -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with closing(here), closing(there):
        for part in (b"one", b"two", b"three"):
            there.send(part)
        assert _burst(here) == [b"one", b"two", b"three"]


def test_a_loss_is_told() -> None:
    with closing(Lossy()) as sock:
        assert _burst(sock) is None
