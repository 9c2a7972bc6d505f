"""The bolt in the kernel, and the socket that owns it."""

import contextlib
import socket
import sys

from geneveil.guard.bolt import wire
from geneveil.guard.nft.io import Nft
from geneveil.guard.wire import FAMILY, parse_tallies
from geneveil.model.errors import GeneveilError, KernelError
from geneveil.model.guard import GuardCounter, GuardSpec, Tally
from geneveil.netlink.wire import NLMSG_ERROR, parse_messages

_TIMEOUT_SECONDS = 5.0
_RECEIVE_BYTES = 64 * 1024


class NftBolt:
    """The bolt in the network namespace of this process; owned until the process ends."""

    def __init__(self, nft: str = "nft") -> None:
        needs = "tables that persist without their owner (Linux 6.9, nftables 1.1)"
        self._nft = Nft(nft, "bolt", needs)
        self._owner: socket.socket | None = None
        self._spec: GuardSpec | None = None

    @property
    def held(self) -> GuardSpec | None:
        """What it stands for, owned by this process; None if it is not."""
        return self._spec

    def hold(self, spec: GuardSpec) -> bool:
        """Make it stand for `spec`, owned by this process.

        What is owned nobody else can change, so that there is nothing to compare. To change it the
        ownership is given up for as long as a transaction takes.

        Returns:
            True if something had to be changed.
        Raises:
            DaemonError, KernelError: nft is missing, or this kernel has no such tables, or another
                process holds it. What stood before still stands, but may have no owner.
        """
        if self._owner is not None and self._spec == spec:
            return False
        self.release()
        self._nft.commit(wire.encode_replace(spec, self._tallies()))
        self._owner, self._spec = _claim(), spec
        return True

    def release(self) -> None:
        """Give it up: it stays, and may be changed."""
        if self._owner is not None:
            self._owner.close()
        self._owner = self._spec = None

    def read(self) -> dict[GuardCounter, Tally] | None:
        """What it counted; None if there is none.

        Raises:
            DaemonError, KernelError: nft is missing, hangs or cannot read.
        """
        listing = self._nft.list_table(FAMILY, wire.TABLE)
        return None if listing is None else parse_tallies(listing)

    def remove(self) -> None:
        """Take it away: only for a node that leaves the cluster for good."""
        self.release()
        self._nft.commit(wire.encode_removal())

    def _tallies(self) -> dict[GuardCounter, Tally]:
        with contextlib.suppress(GeneveilError):
            return self.read() or {}
        return {}


def _claim() -> socket.socket:
    raw = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    owner = socket.socket(socket.AF_NETLINK, raw, wire.NETLINK_NETFILTER)
    try:
        owner.settimeout(_TIMEOUT_SECONDS)
        owner.bind((0, 0))
        owner.send(wire.encode_claim())
        code = _await_answer(owner)
        if code:
            raise OSError(-code, f"the kernel answered with error {-code}")
    except OSError as error:
        owner.close()
        why = error.strerror or str(error)
        raise KernelError("the bolt cannot be claimed", why=why) from None
    return owner


def _await_answer(owner: socket.socket) -> int:
    while True:
        for message in parse_messages(owner.recv(_RECEIVE_BYTES)):
            if message.kind == NLMSG_ERROR and message.sequence == wire.CLAIM_SEQUENCE:
                return int.from_bytes(message.payload[:4], sys.byteorder, signed=True)
