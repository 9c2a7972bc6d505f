"""Notifications of nftables and XFRM to what they mean for us. Pure.

nftables (include/uapi/linux/netfilter/nf_tables.h): after the messages of a transaction, each with
the name of its table as attribute 1, comes one NFT_MSG_NEWGEN with the process that made it
(net/netfilter/nf_tables_api.c, nf_tables_commit). Each starts with nfgenmsg: u8 family,
u8 version, be16 res_id.

XFRM (include/uapi/linux/xfrm.h): a rekeying adds and removes states as well, so a change by
charon can't be told from one by somebody else; only what takes something away is a reason to look.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from geneveil.netlink.wire import parse_attributes, parse_messages, parse_text

NETLINK_XFRM = 6
XFRMNLGRP_SA = 3
XFRMNLGRP_POLICY = 4
NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7

_NFNL_SUBSYS_NFTABLES = 10
_NFT_MSG_NEWGEN = 15
_NFTA_TABLE = 1
_NFTA_GEN_PROC_PID = 2
_NFTA_GEN_PROC_NAME = 3
_NFGENMSG_SIZE = 4

_XFRM_TAKES_AWAY = frozenset(
    {
        0x11,  # XFRM_MSG_DELSA
        0x14,  # XFRM_MSG_DELPOLICY
        0x19,  # XFRM_MSG_UPDPOLICY
        0x1C,  # XFRM_MSG_FLUSHSA
        0x1D,  # XFRM_MSG_FLUSHPOLICY
    }
)


@dataclass(frozen=True)
class TableChange:
    """Somebody changed our table: the process, as far as the kernel said; 0 and empty if not."""

    pid: int = 0
    process: str = ""


@dataclass(frozen=True)
class Reading:
    """What is known after some datagrams.

    Attributes:
        is_open: a transaction touched our table, and who made it was not said yet.
        change: the latest change of our table in these datagrams.
    """

    is_open: bool = False
    change: TableChange | None = None


def read_tables(datagrams: Iterable[bytes], table: str, is_open: bool) -> Reading:
    """Go through notifications of nftables.

    Args:
        table: a name; tables of that name in every family count, for a false alarm costs little.
        is_open: of the reading before.
    Raises:
        KernelError: the bytes are cut.
    """
    change: TableChange | None = None
    for datagram in datagrams:
        for message in parse_messages(datagram):
            if message.kind >> 8 != _NFNL_SUBSYS_NFTABLES:
                continue
            attributes = parse_attributes(message.payload, _NFGENMSG_SIZE)
            if message.kind & 0xFF == _NFT_MSG_NEWGEN:
                if is_open:
                    change = _change(attributes)
                is_open = False
            elif parse_text(attributes.get(_NFTA_TABLE, b"")) == table:
                is_open = True
    return Reading(is_open, change or (TableChange() if is_open else None))


def takes_away(datagrams: Iterable[bytes]) -> bool:
    """Whether a state or policy was removed or replaced, whoever did it.

    Raises:
        KernelError: the bytes are cut.
    """
    return any(
        message.kind in _XFRM_TAKES_AWAY
        for datagram in datagrams
        for message in parse_messages(datagram)
    )


def _change(attributes: dict[int, bytes]) -> TableChange:
    pid = int.from_bytes(attributes.get(_NFTA_GEN_PROC_PID, b""))
    return TableChange(pid, parse_text(attributes.get(_NFTA_GEN_PROC_NAME, b"")))
