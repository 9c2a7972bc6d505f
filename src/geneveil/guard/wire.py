"""The guard's ruleset as libnftables JSON, written and read back. Pure.

Four chains:

    output       Geneve that would leave without an SA of ours is dropped, in an ICMP error too.
    postrouting  The same once more, after source NAT and whatever else routes a packet anew.
    input        Geneve that arrived without one is dropped.
    forward      Geneve that this node would forward for somebody else is dropped, encrypted or not.

What Geneve is: UDP to one of the overlay's ports, or to any port if it has Geneve's shape. A port
that changes in Open vSwitch is used there at once, and known to the agent only a turn later.

Why an SA *of ours*: IPsec of somebody else, such as a VPN of the whole host, would take Geneve
along while its own pair is down: with another cipher, to a gateway that sends it on in clear; and
what came through that VPN would be taken for a peer's. Ours are told by their reqids
(`geneveil.model.connection`). `ipsec out reqid` says nothing of a packet that no SA covers, so
there is a rule for those too.

Why `postrouting`: source NAT there looks for an IPsec policy again, with the new address, and finds
none (nf_xfrm_me_harder, net/netfilter/nf_nat_core.c); at the output hook the packet still had one.
The chain stands after every nat chain: whatever priority those ask for, the kernel runs them
at srcnat, 100. What is encrypted passes as it is: the hook sees it before the transformation, and
then again as ESP.

Why `forward`: with egress through the host, a pod's packets leave masqueraded as the node. A pod
that sends UDP to another node's Geneve port would match the node's own IPsec policy, be encrypted
with the node's identity, and be taken for genuine Geneve there: a way into any pod of the overlay.
Genuine Geneve is always made by the node itself and never forwarded.

ICMP errors: Geneve that came through an SA and that nobody takes, because Open vSwitch is not
there or a firewall rejects it, has the kernel answer with an error that quotes up to 548 bytes of
it, 1,232 in IPv6, and no policy of ours covers ICMP. The output chain drops what quotes Geneve.

Tunnels of other types (docs/decisions/0009-other-tunnels.md): those in UDP join the ports; those
without ports, such as GRE, get a rule by IP protocol in each chain but `forward`.

Fragments need no rule. Output and postrouting see a packet before it is fragmented. IPv4 is put
together before the input hook (net/ipv4/ip_input.c, ip_local_deliver); IPv6 after it, unless
something loaded conntrack's defragmentation. There the first fragment is dropped, and the others
can't be put together without it: it always has the UDP header, since the kernel itself throws away
a first fragment that has not all headers (RFC 8200, 4.5; net/ipv6/reassembly.c, ipv6_frag_rcv,
in Linux 5.11 and later). The same holds for what is forwarded.

A table that reads back differently from what we write counts as altered as a whole; there is no
partial match. Source: libnftables-json(5), nft(8) "RT EXPRESSION" and "META EXPRESSION".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from geneveil.guard.own_table import (
    DPORT,
    L4PROTO,
    UDP,
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
)
from geneveil.model.connection import FIRST_REQID, LAST_REQID
from geneveil.model.guard import GuardCounter, GuardSpec, ObservedGuard, Tally

FAMILY = "inet"
TABLE = "geneveil"
COMMENT = "Geneve travels inside IPsec or not at all; kept by geneveil"

_TABLE = OwnTable(FAMILY, TABLE, COMMENT)
_CHAINS = {"output": 0, "postrouting": 300, "input": 0, "forward": 0}
"""Name, which is the hook's too, and priority."""


def encode_replace(spec: GuardSpec, tallies: Mapping[GuardCounter, Tally]) -> Json:
    """One transaction that puts the guard in place of whatever the table holds.

    The kernel commits it at once, so there is no moment without a guard. Counters go on from
    `tallies`, the last readings.
    """
    return _TABLE.encode_replace(
        tallies, GuardCounter, plan_chains(_TABLE), plan_rules(_TABLE, spec)
    )


def encode_removal() -> Json:
    """The transaction that takes the guard away: for a node that is being decommissioned."""
    return _TABLE.encode_removal()


def parse_table(listing: Mapping[str, Any]) -> ObservedGuard:
    """What `nft -j list table inet geneveil` printed, as a value.

    Raises:
        KernelError: it is not such a listing; never taken for "no guard".
    """
    found = by_kind(listing, "guard")
    covered = _covered(found)
    return ObservedGuard(
        present=bool(found.get("table")),
        ports=covered.ports if covered else None,
        counters=read_tallies(found, GuardCounter),
        protocols=covered.protocols if covered else (),
        named=_named(found.get("rule", ())),
    )


def parse_tallies(listing: Mapping[str, Any]) -> dict[GuardCounter, Tally]:
    """The counters of a table with the guard's rules.

    Raises:
        KernelError: it is not such a listing.
    """
    return read_tallies(by_kind(listing, "guard"), GuardCounter)


ABSENT = ObservedGuard(present=False, ports=None, counters={})


def plan_chains(table: OwnTable, behind: int = 0) -> list[Json]:
    """The base chains, so much behind where the guard's stand."""
    return [
        {
            **table.place,
            "name": hook,
            "type": "filter",
            "hook": hook,
            "prio": priority + behind,
            "policy": "accept",
        }
        for hook, priority in _CHAINS.items()
    ]


def plan_rules(table: OwnTable, spec: GuardSpec) -> list[Json]:
    """The rules of all chains."""
    to_port = match(DPORT, any_of(spec.ports))
    kinds = [[to_port], [match(L4PROTO, UDP), *geneve_shape()]]
    if spec.protocols:
        kinds.append([match(L4PROTO, any_of(spec.protocols))])
    leaves = (match({"rt": {"key": "ipsec"}}, False), _of_others("out"))
    came = (match({"meta": {"key": "ipsec"}}, False), _of_others("in"))
    ways = (
        ("output", GuardCounter.CLEARTEXT_OUT, leaves),
        ("postrouting", GuardCounter.CLEARTEXT_OUT, leaves),
        ("input", GuardCounter.CLEARTEXT_IN, came),
    )
    rules = [
        _rule(table, chain, counter, *kind, condition)
        for kind in kinds
        for chain, counter, conditions in ways
        for condition in conditions
    ]
    rules += [
        _rule(table, "output", GuardCounter.QUOTED, *kind) for kind in quoted_geneve(spec.ports)
    ]
    return [*rules, _rule(table, "forward", GuardCounter.FORWARDED, to_port)]


def _of_others(direction: str) -> Json:
    """Covered by an SA that is not ours."""
    key = {"ipsec": {"key": "reqid", "dir": direction, "spnum": 0}}
    ours = {"range": [FIRST_REQID, LAST_REQID]}
    return {"match": {"op": "!=", "left": key, "right": ours}}


def _rule(table: OwnTable, chain: str, counter: GuardCounter, *matches: Json) -> Json:
    return {
        **table.place,
        "chain": chain,
        "expr": [*matches, {"counter": counter.value}, {"drop": None}],
    }


def _covered(found: Mapping[str, list[Json]]) -> GuardSpec | None:
    """What an unaltered guard covers, or None for anything that we would not have written."""
    if not is_whole(found):
        return None
    if sorted(body["name"] for body in found["counter"]) != sorted(c.value for c in GuardCounter):
        return None
    if comparable(found["chain"]) != comparable(plan_chains(_TABLE)):
        return None
    spec = _named(found["rule"])
    if spec is None or comparable(found["rule"]) != comparable(plan_rules(_TABLE, spec)):
        return None
    return spec


def _named(rules: Sequence[Json]) -> GuardSpec | None:
    """Every port and protocol that a rule of ours names: one that counts for us and drops."""
    ours = [{"counter": counter.value} for counter in GuardCounter]
    ports: set[int] = set()
    protocols: set[int] = set()
    for rule in rules:
        match rule.get("expr"):
            case [{"match": {"left": left, "right": right}}, *rest, counter, {"drop": _}] if (
                counter in ours and not is_by_shape(rest)
            ):
                if left == DPORT:
                    ports |= numbers_of(right)
                elif left == L4PROTO:
                    protocols |= numbers_of(right)
            case _:
                pass
    return GuardSpec(tuple(sorted(ports)), tuple(sorted(protocols))) if ports else None
