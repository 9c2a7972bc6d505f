"""The netlink socket that dumps states and policies. Reading needs CAP_NET_ADMIN."""

import contextlib
import errno
import os
import socket

from geneveil.model.errors import KernelError
from geneveil.model.shortage import remedy_for
from geneveil.model.xfrm import XfrmPolicy, XfrmState
from geneveil.xfrm import wire

NETLINK_XFRM = 6
TIMEOUT_SECONDS = 5.0
RECEIVE_BYTES = 64 * 1024
"""The kernel fills at most 32 KiB a datagram of a dump (net/netlink/af_netlink.c)."""

DUMP_TRIES = 4
"""A dump during which the database changed may lack something: it is asked for again."""


class XfrmKernel:
    """The IPsec database of the network namespace of this process."""

    def __init__(self) -> None:
        self._sequence = 0

    def read_states(self) -> tuple[XfrmState, ...]:
        """Every state; KernelError rather than a part of them."""
        payloads = self._dump(wire.XFRM_MSG_GETSA, wire.XFRM_MSG_NEWSA)
        return tuple(wire.parse_state(payload) for payload in payloads)

    def read_policies(self) -> tuple[XfrmPolicy, ...]:
        """Every policy; KernelError rather than a part of them."""
        payloads = self._dump(wire.XFRM_MSG_GETPOLICY, wire.XFRM_MSG_NEWPOLICY)
        return tuple(wire.parse_policy(payload) for payload in payloads)

    def delete_state(self, destination: str, spi: int, protocol: int) -> None:
        """Exactly this state; one that is not there is no error."""
        self._sequence += 1
        request = wire.encode_delete_request(destination, spi, protocol, self._sequence)
        raw = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        try:
            with contextlib.closing(socket.socket(socket.AF_NETLINK, raw, NETLINK_XFRM)) as sock:
                sock.settimeout(TIMEOUT_SECONDS)
                sock.bind((0, 0))
                sock.send(request)
                code = wire.parse_errno(sock.recv(RECEIVE_BYTES))
        except OSError as error:
            code = error.errno or errno.EIO
        if code not in (0, errno.ESRCH):
            raise KernelError(
                f"cannot delete the SA {spi:08x} to {destination}",
                why=os.strerror(code),
                remedy="run as root",
            )

    def _dump(self, request: int, wanted: int) -> list[bytes]:
        try:
            for _try in range(DUMP_TRIES):
                payloads, is_whole = self._dump_once(request, wanted)
                if is_whole:
                    return payloads
        except OSError as error:
            why = error.strerror or str(error)
            raise KernelError(
                "cannot read the IPsec database",
                why=why,
                remedy=remedy_for(error, "run as root on a kernel with XFRM (CONFIG_XFRM_USER)"),
            ) from None
        raise KernelError("cannot read the IPsec database", why="it changes all the time")

    def _dump_once(self, request: int, wanted: int) -> tuple[list[bytes], bool]:
        self._sequence += 1
        raw = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        with contextlib.closing(socket.socket(socket.AF_NETLINK, raw, NETLINK_XFRM)) as sock:
            sock.settimeout(TIMEOUT_SECONDS)
            sock.bind((0, 0))
            sock.send(wire.encode_dump_request(request, self._sequence))
            payloads: list[bytes] = []
            is_whole = True
            while True:
                reply = wire.parse_reply(sock.recv(RECEIVE_BYTES), wanted, self._sequence)
                payloads += reply.payloads
                is_whole = is_whole and not reply.is_interrupted
                if reply.is_done:
                    return payloads, is_whole
