"""The raw sockets of the echo: open only while a pair is encapsulated. Needs CAP_NET_RAW."""

import contextlib
import ctypes
import errno
import secrets
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address

from geneveil.especho.port import AddressPair
from geneveil.especho.wire import (
    NONCE_BYTES,
    Echo,
    EchoKind,
    encode_echo,
    encode_filter,
    parse_echo,
    strip_ipv4_header,
)
from geneveil.model.errors import KernelError

ESP = 50
SO_ATTACH_FILTER = 26
"""asm-generic/socket.h; the standard library does not name it."""

REPLY_SECONDS = 10.0
"""The peer's agent answers when it looks, at least every 2 s."""

MOST_A_READ = 256
RECEIVE_BYTES = 2048


class RawEspEcho:
    """Echoes over raw sockets of IP protocol 50, one for each address of this node: what comes in
    is answered from where it was sent to."""

    def __init__(self) -> None:
        self._pairs: frozenset[AddressPair] = frozenset()
        self._sockets: dict[str, socket.socket] = {}
        self._asked: dict[bytes, tuple[AddressPair, float]] = {}
        self._failure: OSError | None = None

    def listen(self, pairs: frozenset[AddressPair]) -> None:
        """From now on answer these pairs, and no others; with none, nothing is open."""
        self._pairs = pairs
        wanted = {local for local, _remote in pairs}
        for local in list(self._sockets):
            if local not in wanted:
                self._sockets.pop(local).close()
        self._failure = None
        for local in sorted(wanted - set(self._sockets)):
            try:
                self._sockets[local] = _open_listening(local)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:  # nothing comes to an address that is gone
                    self._failure = error

    def ask(self, pair: AddressPair) -> None:
        """Send a request; its reply shows at a later `read`."""
        now = time.monotonic()
        self._asked = {n: a for n, a in self._asked.items() if now - a[1] < REPLY_SECONDS}
        nonce = secrets.token_bytes(NONCE_BYTES)
        self._asked[nonce] = (pair, now)
        _send(pair, Echo(EchoKind.REQUEST, nonce))

    def read(self) -> frozenset[AddressPair]:
        """Answer the requests that came, and say whose replies came; does not wait.

        Raises:
            KernelError: there can be no such socket.
        """
        if self._failure is not None:
            raise KernelError(
                "cannot send or receive echoes in ESP",
                why=self._failure.strerror or str(self._failure),
                remedy="give the agent CAP_NET_RAW",
            )
        replied: set[AddressPair] = set()
        for local, sock in self._sockets.items():
            for remote, echo in _received(_family(local), sock):
                pair = (local, remote)
                if pair not in self._pairs:
                    continue
                if echo.kind is EchoKind.REQUEST:
                    _send(pair, Echo(EchoKind.REPLY, echo.nonce))
                    continue
                asked, at = self._asked.pop(echo.nonce, (None, 0.0))
                if asked == pair and time.monotonic() - at < REPLY_SECONDS:
                    replied.add(pair)
        return frozenset(replied)


def _family(address: str) -> int:
    return int(socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET)


def _open_raw(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, ESP)


def _open_listening(local: str) -> socket.socket:
    family = _family(local)
    sock = _open_raw(family)
    try:
        sock.setblocking(False)
        program = encode_filter(ipv6=family == socket.AF_INET6)
        buffer = ctypes.create_string_buffer(program, len(program))
        count = len(program) // 8
        # struct sock_fprog: u16 length, padding, pointer to the instructions.
        fprog = struct.pack("@HP", count, ctypes.addressof(buffer))
        sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, fprog)
        sock.bind((local, 0))
    except BaseException:
        sock.close()
        raise
    return sock


def _send(pair: AddressPair, echo: Echo) -> None:
    """An echo that cannot leave is one that gets no reply: no error."""
    local, remote = pair
    family = _family(local)
    with contextlib.suppress(OSError), contextlib.closing(_open_raw(family)) as sock:
        sock.bind((local, 0))
        sock.sendto(encode_echo(echo), socket.MSG_DONTWAIT, (remote, 0))


def _received(family: int, sock: socket.socket) -> Iterator[tuple[str, Echo]]:
    for _ in range(MOST_A_READ):
        try:
            data, address = sock.recvfrom(RECEIVE_BYTES)
        except OSError:
            return  # nothing more, or an ICMP error about what was sent
        payload = data if family == socket.AF_INET6 else strip_ipv4_header(data)
        echo = parse_echo(payload)
        if echo is not None:
            yield str(ip_address(address[0])), echo
