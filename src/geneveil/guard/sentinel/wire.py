"""The sentinel's ruleset as libnftables JSON, written and read back. Pure.

Two base chains of the netdev family on the underlay interfaces:

    egress   Last of all chains there: behind routing, IPsec and every hook of the IP layer, the
             frame is on its way to the queue of the card (net/core/dev.c, __dev_queue_xmit). What
             matches is Geneve that IPsec did not cover: ESP and ESP in UDP are other protocols.
             Geneve is known by its ports, and on any other by its shape; an ICMP error that quotes
             it counts too, for it carries what a pod said.
             Frames of packet sockets pass here too, unless the sender asked to bypass the queue.
    ingress  First of all chains there, before the IP layer. Only what is addressed to this node
             (`meta pkttype host`): a switch may flood others' frames. What arrived inside IPsec
             and passes a second time, as tunnel mode makes it, has a security path and is left
             out.

Counted are frames: a packet that was fragmented counts once, by its first fragment.
A device that goes takes its hook along: before Linux 6.16 the table then reads back without it,
since then the name stays and finds the next device that has it.
Egress needs Linux 5.16 (CONFIG_NETFILTER_EGRESS).
Source: nft(8) "NETDEV ADDRESS FAMILY", libnftables-json(5).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from geneveil.guard.own_table import (
    DPORT,
    L4PROTO,
    Json,
    OwnTable,
    any_of,
    by_kind,
    comparable,
    geneve_shape,
    is_by_shape,
    is_whole,
    match,
    numbers_of,
    quoted_geneve,
    read_tallies,
    unlike,
)
from geneveil.model.guard import Tally
from geneveil.model.sentinel import ObservedSentinel, SentinelCounter, SentinelSpec

FAMILY = "netdev"
TABLE = "geneveil"
COMMENT = "Counts Geneve in clear on the underlay, drops nothing; kept by geneveil"

_TABLE = OwnTable(FAMILY, TABLE, COMMENT)
_CHAINS = {"egress": 2_000_000_000, "ingress": -2_000_000_000}
"""Name, which is the hook's too, and priority: at the wire's end of all others."""

ABSENT = ObservedSentinel(None, {})


def encode_replace(spec: SentinelSpec, tallies: Mapping[SentinelCounter, Tally]) -> Json:
    """One transaction that puts the sentinel in place of whatever the table holds; counters go on
    from `tallies`."""
    return _TABLE.encode_replace(tallies, SentinelCounter, _chains(spec.devices), _rules(spec))


def encode_removal() -> Json:
    """The transaction that takes the sentinel away."""
    return _TABLE.encode_removal()


def parse_table(listing: Mapping[str, Any]) -> ObservedSentinel:
    """What `nft -j list table netdev geneveil` printed, as a value.

    Raises:
        KernelError: it is not such a listing.
    """
    found = by_kind(listing, "sentinel")
    return ObservedSentinel(_spec(found), read_tallies(found, SentinelCounter))


def _chains(devices: Sequence[str]) -> list[Json]:
    return [
        {
            **_TABLE.place,
            "name": hook,
            "type": "filter",
            "hook": hook,
            "prio": priority,
            "dev": _one_or_list(devices),
            "policy": "accept",
        }
        for hook, priority in _CHAINS.items()
    ]


def _rules(spec: SentinelSpec) -> list[Json]:
    to_port = match(DPORT, any_of(spec.ports))
    kinds = [[to_port], [unlike(to_port), *geneve_shape()]]  # a frame counts once
    kinds += quoted_geneve(spec.ports)
    if spec.protocols:
        kinds.append([match(L4PROTO, any_of(spec.protocols))])
    mine = match({"meta": {"key": "pkttype"}}, "host")
    bare = match({"meta": {"key": "ipsec"}}, False)
    rules: list[Json] = []
    for kind in kinds:
        rules.append(_rule("egress", SentinelCounter.WIRE_OUT, *kind))
        rules.append(_rule("ingress", SentinelCounter.WIRE_IN, *kind, mine, bare))
    return rules


def _rule(chain: str, counter: SentinelCounter, *matches: Json) -> Json:
    return {**_TABLE.place, "chain": chain, "expr": [*matches, {"counter": counter.value}]}


def _one_or_list(devices: Sequence[str]) -> object:
    return devices[0] if len(devices) == 1 else list(devices)


def _spec(found: Mapping[str, list[Json]]) -> SentinelSpec | None:
    """What an unaltered sentinel says, or None for anything that we would not have written."""
    if not is_whole(found):
        return None
    devices = found["chain"][0].get("dev", [])
    names = sorted([devices] if isinstance(devices, str) else devices)
    ports: set[int] = set()
    protocols: set[int] = set()
    for rule in found["rule"]:
        if is_by_shape(rule.get("expr", ())):
            continue
        first = rule.get("expr", [{}])[0].get("match", {})
        if first.get("left") == DPORT:
            ports |= numbers_of(first.get("right"))
        elif first.get("left") == L4PROTO:
            protocols |= numbers_of(first.get("right"))
    if not names or not ports:
        return None
    spec = SentinelSpec(tuple(names), tuple(sorted(ports)), tuple(sorted(protocols)))
    chains, rules = map(_in_order, found["chain"]), found["rule"]
    if comparable(chains) != comparable(_chains(spec.devices)):
        return None
    return spec if comparable(rules) == comparable(_rules(spec)) else None


def _in_order(chain: Json) -> Json:
    """The same chain with its devices ascending: the kernel has them in an order of its own."""
    devices = chain.get("dev")
    if not isinstance(devices, list):
        return chain
    return {**chain, "dev": sorted(devices, key=str)}
