"""The bolt's table, and the message by which a process makes it its own. Pure.

Somebody who flushes the whole ruleset takes the guard, and the agent puts it back a fraction of a
second later. What flushes the kernel's IPsec policies in the same moment leaves nothing that would
stop a packet meanwhile. So the rules stand once more, right behind the guard's, in a table
with an owner: the kernel lets only the socket that claimed it change or delete it, and others'
`flush ruleset` passes it by (nft_flush and nft_table_lookup in net/netfilter/nf_tables_api.c).

The table is persistent: when its owner ends it stays, without an owner, and the next agent claims
it. Owners are known to Linux 5.12 and later, persistent tables to 6.9 and later; without, there is
the guard alone.

    nlmsghdr NFNL_MSG_BATCH_BEGIN   nfgenmsg AF_UNSPEC, 0, be16 subsystem
    nlmsghdr NFT_MSG_NEWTABLE       nfgenmsg NFPROTO_INET, 0, 0; name; be32 flags
    nlmsghdr NFNL_MSG_BATCH_END     nfgenmsg AF_UNSPEC, 0, be16 subsystem

Source: include/uapi/linux/netfilter/nf_tables.h and nfnetlink.h; nft(8), "TABLES".
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from geneveil.guard.own_table import Json, OwnTable
from geneveil.guard.wire import FAMILY, plan_chains, plan_rules
from geneveil.model.guard import GuardCounter, GuardSpec, Tally
from geneveil.netlink.wire import NLM_F_ACK, NLM_F_REQUEST, encode_attribute, encode_request

TABLE = "geneveil_bolt"
COMMENT = "The guard's rules once more, owned by the agent; kept by geneveil"
BEHIND = 1
"""After the guard's chains, so that what is counted here has passed them."""

NETLINK_NETFILTER = 12
CLAIM_SEQUENCE = 2

_TABLE = OwnTable(FAMILY, TABLE, COMMENT, "persist")
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEW_TABLE = _SUBSYSTEM << 8
_NAME, _FLAGS = 1, 2
_OWNER, _PERSIST = 0x2, 0x4
_AF_UNSPEC, _NFPROTO_INET = 0, 1
_GENMSG = struct.Struct(">BBH")


def encode_replace(spec: GuardSpec, tallies: Mapping[GuardCounter, Tally]) -> Json:
    """One transaction that puts the bolt in place, without an owner yet; the counters go on."""
    chains, rules = plan_chains(_TABLE, BEHIND), plan_rules(_TABLE, spec)
    return _TABLE.encode_replace(tallies, GuardCounter, chains, rules)


def encode_removal() -> Json:
    """The transaction that takes it away."""
    return _TABLE.encode_removal()


def encode_claim() -> bytes:
    """One datagram that makes whoever sends it the owner. The kernel answers CLAIM_SEQUENCE."""
    frame = _GENMSG.pack(_AF_UNSPEC, 0, _SUBSYSTEM)
    table = _GENMSG.pack(_NFPROTO_INET, 0, 0)
    table += encode_attribute(_NAME, TABLE.encode() + b"\0")
    table += encode_attribute(_FLAGS, struct.pack(">I", _OWNER | _PERSIST))
    return b"".join(
        (
            encode_request(_BATCH_BEGIN, NLM_F_REQUEST, 1, frame),
            encode_request(_NEW_TABLE, NLM_F_REQUEST | NLM_F_ACK, CLAIM_SEQUENCE, table),
            encode_request(_BATCH_END, NLM_F_REQUEST, 3, frame),
        )
    )


def is_owned(listing: Mapping[str, Any]) -> bool:
    """Whether a process holds the table that `nft -j list table` printed."""
    for item in _tables(listing):
        flags = item.get("flags", ())
        return "owner" in ([flags] if isinstance(flags, str) else flags)
    return False


def _tables(listing: Mapping[str, Any]) -> Iterable[Json]:
    return [item["table"] for item in listing.get("nftables", ()) if "table" in item]
