"""The sentinel's ruleset as libnftables JSON, written and read back. Pure.

Two base chains of the netdev family on the underlay interfaces:

    egress   Last of all chains there: behind routing, IPsec and every hook of the IP layer, the
             frame is on its way to the queue of the card (net/core/dev.c, __dev_queue_xmit). What
             matches is Geneve that IPsec did not cover: ESP and ESP in UDP are other protocols.
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
from typing import Any, TypeAlias

from geneveil.model.errors import KernelError
from geneveil.model.guard import Tally
from geneveil.model.sentinel import ObservedSentinel, SentinelCounter, SentinelSpec

FAMILY = "netdev"
TABLE = "geneveil"
COMMENT = "Counts Geneve in clear on the underlay, drops nothing; kept by geneveil"

Json: TypeAlias = dict[str, Any]

_CHAINS = {"egress": 2_000_000_000, "ingress": -2_000_000_000}
"""Name, which is the hook's too, and priority: at the wire's end of all others."""

_PLACE = {"family": FAMILY, "table": TABLE}
_DPORT: Json = {"payload": {"protocol": "udp", "field": "dport"}}
_L4PROTO: Json = {"meta": {"key": "l4proto"}}

ABSENT = ObservedSentinel(None, {})


def encode_replace(spec: SentinelSpec, tallies: Mapping[SentinelCounter, Tally]) -> Json:
    """One transaction that puts the sentinel in place of whatever the table holds; counters go on
    from `tallies`."""
    table = {"family": FAMILY, "name": TABLE}
    commands: list[Json] = [
        {"add": {"table": table}},  # so that the deletion finds one
        {"delete": {"table": table}},
        {"add": {"table": {**table, "comment": COMMENT}}},
    ]
    commands += [{"add": {"counter": _counter(c, tallies)}} for c in SentinelCounter]
    commands += [{"add": {"chain": chain}} for chain in _chains(spec.devices)]
    commands += [{"add": {"rule": rule}} for rule in _rules(spec)]
    return {"nftables": commands}


def encode_removal() -> Json:
    """The transaction that takes the sentinel away."""
    table = {"family": FAMILY, "name": TABLE}
    return {"nftables": [{"add": {"table": table}}, {"delete": {"table": table}}]}


def parse_table(listing: Mapping[str, Any]) -> ObservedSentinel:
    """What `nft -j list table netdev geneveil` printed, as a value.

    Raises:
        KernelError: it is not such a listing.
    """
    objects = listing.get("nftables")
    if not isinstance(objects, list):
        raise KernelError("cannot read the sentinel", why="nft printed something unexpected")
    found: dict[str, list[Json]] = {}
    for item in objects:
        for kind, body in item.items():
            found.setdefault(kind, []).append(body)
    known = {c.value for c in SentinelCounter}
    counters = {
        SentinelCounter(body["name"]): Tally(int(body["packets"]), int(body["bytes"]))
        for body in found.get("counter", ())
        if body.get("name") in known
    }
    return ObservedSentinel(_spec(found), counters)


def _chains(devices: Sequence[str]) -> list[Json]:
    return [
        {
            **_PLACE,
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
    kinds = [_match(_DPORT, _any_of(spec.ports))]
    if spec.protocols:
        kinds.append(_match(_L4PROTO, _any_of(spec.protocols)))
    mine = _match({"meta": {"key": "pkttype"}}, "host")
    bare = _match({"meta": {"key": "ipsec"}}, False)
    rules: list[Json] = []
    for kind in kinds:
        rules.append(_rule("egress", SentinelCounter.WIRE_OUT, kind))
        rules.append(_rule("ingress", SentinelCounter.WIRE_IN, kind, mine, bare))
    return rules


def _rule(chain: str, counter: SentinelCounter, *matches: Json) -> Json:
    return {**_PLACE, "chain": chain, "expr": [*matches, {"counter": counter.value}]}


def _match(left: Json, right: object) -> Json:
    return {"match": {"op": "==", "left": left, "right": right}}


def _any_of(numbers: Sequence[int]) -> object:
    return numbers[0] if len(numbers) == 1 else {"set": list(numbers)}


def _one_or_list(devices: Sequence[str]) -> object:
    return devices[0] if len(devices) == 1 else list(devices)


def _counter(counter: SentinelCounter, tallies: Mapping[SentinelCounter, Tally]) -> Json:
    tally = tallies.get(counter, Tally())
    return {**_PLACE, "name": counter.value, "packets": tally.packets, "bytes": tally.bytes}


def _spec(found: Mapping[str, list[Json]]) -> SentinelSpec | None:
    """What an unaltered sentinel says, or None for anything that we would not have written."""
    if set(found) - {"metainfo"} != {"table", "counter", "chain", "rule"}:
        return None
    if "flags" in found["table"][0]:  # a dormant table counts nothing
        return None
    devices = found["chain"][0].get("dev", [])
    names = sorted([devices] if isinstance(devices, str) else devices)
    ports: set[int] = set()
    protocols: set[int] = set()
    for rule in found["rule"]:
        match = rule.get("expr", [{}])[0].get("match", {})
        target = ports if match.get("left") == _DPORT else protocols
        right = match.get("right")
        values = right.get("set", ()) if isinstance(right, dict) else [right]
        target |= {value for value in values if type(value) is int}
    if not names or not ports:
        return None
    spec = SentinelSpec(tuple(names), tuple(sorted(ports)), tuple(sorted(protocols)))
    is_same = _sorted(found["chain"]) == _sorted(_chains(spec.devices)) and _sorted(
        found["rule"]
    ) == _sorted(_rules(spec))
    return spec if is_same else None


def _sorted(bodies: list[Json]) -> list[str]:
    """Comparable texts of objects without the handles that the kernel gives."""
    return sorted(repr(_canonical({k: v for k, v in b.items() if k != "handle"})) for b in bodies)


def _canonical(value: object) -> object:
    if isinstance(value, dict):
        if set(value) == {"set"}:
            return ("set", sorted(value["set"], key=repr))
        return sorted((key, _canonical(item)) for key, item in value.items())
    if isinstance(value, list):
        # Texts are devices, in whatever order the kernel has them; the rest is an expression.
        if all(isinstance(item, str) for item in value):
            return sorted(map(str, value))
        return [_canonical(item) for item in value]
    return value
