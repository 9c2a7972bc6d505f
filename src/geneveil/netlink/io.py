"""Netlink sockets: whole dumps, and notifications of a multicast group."""

import contextlib
import errno
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable

from geneveil.model.errors import KernelError
from geneveil.netlink import wire

SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1

TIMEOUT_SECONDS = 5.0
RECEIVE_BYTES = 64 * 1024
"""The kernel fills at most 32 KiB a datagram of a dump (net/netlink/af_netlink.c)."""

DUMP_TRIES = 4
"""A dump during which the answer changed may lack something: it is asked for again."""

SUBSCRIBE_AGAIN_SECONDS = 1.0

GATHER_SECONDS = 0.01
"""The notifications of one transaction come one by one, who made it last."""

BURST_BYTES = 512 * 1024
"""What is handed over at once. Whoever changes something faster than it is read would otherwise
fill this process; the rest waits in the socket, which has an end of its own (ENOBUFS)."""

_log = logging.getLogger("geneveil.netlink")

Receive = Callable[[list[bytes] | None], None]
"""Takes every datagram of a burst, or None: something may have been missed, look anew."""


def dump(protocol: int, kind: int, payload: bytes) -> list[wire.NetlinkMessage]:
    """All messages of one dump, whole.

    Raises:
        KernelError: the kernel refuses, or what is asked about changes all the time.
    """
    try:
        for _try in range(DUMP_TRIES):
            messages = _dump_once(protocol, kind, payload)
            if messages is not None:
                return messages
    except OSError as error:
        raise KernelError("cannot read from netlink", why=error.strerror or str(error)) from None
    raise KernelError("cannot read from netlink", why="it changes all the time")


def _dump_once(protocol: int, kind: int, payload: bytes) -> list[wire.NetlinkMessage] | None:
    raw = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with contextlib.closing(socket.socket(socket.AF_NETLINK, raw, protocol)) as sock:
        sock.settimeout(TIMEOUT_SECONDS)
        sock.bind((0, 0))
        flags = wire.NLM_F_REQUEST | wire.NLM_F_DUMP
        sock.send(wire.encode_request(kind, flags, 1, payload))
        found: list[wire.NetlinkMessage] = []
        is_whole = True
        while True:
            for message in wire.parse_messages(sock.recv(RECEIVE_BYTES)):
                is_whole = is_whole and not message.flags & wire.NLM_F_DUMP_INTERRUPTED
                if message.kind in (wire.NLMSG_ERROR, wire.NLMSG_DONE):
                    code = int.from_bytes(message.payload[:4], sys.byteorder, signed=True)
                    if code:
                        raise OSError(-code, f"the kernel answered with error {-code}")
                    return found if is_whole else None
                found.append(message)


class Subscription:
    """A thread that hands over what a family multicasts, a burst at a time.

    It never ends: a socket that fails (no descriptor left, no privilege) is tried again, and after
    that everything is to be looked at anew, because nobody listened meanwhile.

    Args:
        pause_seconds: between two bursts, so that whoever changes something without end costs
            little; meanwhile the socket collects.
    """

    def __init__(
        self,
        name: str,
        protocol: int,
        groups: tuple[int, ...],
        receive: Receive,
        pause_seconds: float,
    ) -> None:
        self._protocol = protocol
        self._groups = groups
        self._receive = receive
        self._pause_seconds = pause_seconds
        self._failure = "not yet subscribed"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start listening; goes on until the process ends."""
        self._thread.start()

    @property
    def failure(self) -> str:
        """Why nobody listens; empty while somebody does."""
        return self._failure

    def _run(self) -> None:
        while True:
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001, RUF100 - whatever it was: listen again
                if str(error) != self._failure:
                    _log.warning("%s: nobody listens: %s", self._thread.name, error)
                self._failure = str(error)
            time.sleep(SUBSCRIBE_AGAIN_SECONDS)

    def _listen(self) -> None:
        raw = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        with contextlib.closing(socket.socket(socket.AF_NETLINK, raw, self._protocol)) as sock:
            sock.bind((0, 0))
            for group in self._groups:
                sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
            self._failure = ""
            self._receive(None)
            while True:
                self._receive(_burst(sock))
                time.sleep(self._pause_seconds)


def _burst(sock: socket.socket) -> list[bytes] | None:
    try:
        datagrams = [sock.recv(RECEIVE_BYTES)]
        time.sleep(GATHER_SECONDS)
        gathered_bytes = len(datagrams[0])
        with contextlib.suppress(BlockingIOError):
            while gathered_bytes < BURST_BYTES:
                datagrams.append(sock.recv(RECEIVE_BYTES, socket.MSG_DONTWAIT))
                gathered_bytes += len(datagrams[-1])
    except OSError as error:
        if error.errno == errno.ENOBUFS:  # the kernel threw some away
            return None
        raise
    return datagrams
