"""The guard's ruleset as libnftables JSON, written and read back. Pure.

Three chains, one rule each:

    output   Geneve that would leave without an IPsec transformation is dropped.
    input    Geneve that arrived without one is dropped.
    forward  Geneve that this node would forward for somebody else is dropped, encrypted or not.

Why `forward`: with egress through the host, a pod's packets leave masqueraded as the node. A pod
that sends UDP to another node's Geneve port would match the node's own IPsec policy, be encrypted
with the node's identity, and be taken for genuine Geneve there: a way into any pod of the overlay.
Genuine Geneve is always made by the node itself and never forwarded.

Fragments need no rule: the output hook sees a packet before it is fragmented, the input hook after
it was put together (net/ipv4/ip_input.c, ip_local_deliver); a forwarded packet loses its first
fragment here and cannot be put together any more.

A table that reads back differently from what we write counts as altered as a whole; there is no
partial match. Source: libnftables-json(5), nft(8) "RT EXPRESSION" and "META EXPRESSION".
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from geneveil.model.errors import KernelError
from geneveil.model.guard import GuardCounter, GuardSpec, ObservedGuard, Tally

FAMILY = "inet"
TABLE = "geneveil"
COMMENT = "Geneve travels inside IPsec or not at all; kept by geneveil"

Json: TypeAlias = dict[str, Any]

_PRIORITY_FILTER = 0
_PLACE = {"family": FAMILY, "table": TABLE}


def encode_replace(spec: GuardSpec, tallies: Mapping[GuardCounter, Tally]) -> Json:
    """One transaction that puts the guard in place of whatever the table holds.

    The kernel commits it at once, so there is no moment without a guard. Counters go on from
    `tallies`, the last readings.
    """
    table = {"family": FAMILY, "name": TABLE}
    commands: list[Json] = [
        {"add": {"table": table}},  # so that the deletion finds one
        {"delete": {"table": table}},
        {"add": {"table": {**table, "comment": COMMENT}}},
    ]
    commands += [{"add": {"counter": _counter(c, tallies.get(c, Tally()))}} for c in GuardCounter]
    commands += [{"add": {"chain": chain}} for chain in _chains()]
    commands += [{"add": {"rule": rule}} for rule in _rules(spec.ports)]
    return {"nftables": commands}


def encode_removal() -> Json:
    """The transaction that takes the guard away: for a node that is being decommissioned."""
    table = {"family": FAMILY, "name": TABLE}
    return {"nftables": [{"add": {"table": table}}, {"delete": {"table": table}}]}


def parse_table(listing: Mapping[str, Any]) -> ObservedGuard:
    """What `nft -j list table inet geneveil` printed, as a value.

    Raises:
        KernelError: it is not such a listing; never taken for "no guard".
    """
    objects = listing.get("nftables")
    if not isinstance(objects, list):
        raise KernelError("cannot read the guard", why="nft printed something unexpected")
    found: dict[str, list[Json]] = {}
    for item in objects:
        for kind, body in item.items():
            found.setdefault(kind, []).append(body)
    ports = _covered_ports(found)
    counters = {
        GuardCounter(body["name"]): Tally(int(body["packets"]), int(body["bytes"]))
        for body in found.get("counter", ())
        if body.get("name") in {c.value for c in GuardCounter}
    }
    return ObservedGuard(present=bool(found.get("table")), ports=ports, counters=counters)


ABSENT = ObservedGuard(present=False, ports=None, counters={})


def _chains() -> list[Json]:
    return [
        {
            **_PLACE,
            "name": hook,
            "type": "filter",
            "hook": hook,
            "prio": _PRIORITY_FILTER,
            "policy": "accept",
        }
        for hook in ("output", "input", "forward")
    ]


def _rules(ports: Sequence[int]) -> list[Json]:
    to_geneve = _match({"payload": {"protocol": "udp", "field": "dport"}}, _port_match(ports))
    return [
        _rule(
            "output", GuardCounter.CLEARTEXT_OUT, to_geneve, _match({"rt": {"key": "ipsec"}}, False)
        ),
        _rule(
            "input", GuardCounter.CLEARTEXT_IN, to_geneve, _match({"meta": {"key": "ipsec"}}, False)
        ),
        _rule("forward", GuardCounter.FORWARDED, to_geneve),
    ]


def _rule(chain: str, counter: GuardCounter, *matches: Json) -> Json:
    return {
        **_PLACE,
        "chain": chain,
        "expr": [*matches, {"counter": counter.value}, {"drop": None}],
    }


def _match(left: Json, right: object) -> Json:
    return {"match": {"op": "==", "left": left, "right": right}}


def _port_match(ports: Sequence[int]) -> object:
    # nft prints a set of one as the plain value; written the same way it compares equal.
    return ports[0] if len(ports) == 1 else {"set": list(ports)}


def _counter(counter: GuardCounter, tally: Tally) -> Json:
    return {**_PLACE, "name": counter.value, "packets": tally.packets, "bytes": tally.bytes}


def _covered_ports(found: Mapping[str, list[Json]]) -> tuple[int, ...] | None:
    """The ports of an unaltered guard, or None for anything that we would not have written."""
    if set(found) - {"metainfo"} != {"table", "counter", "chain", "rule"}:
        return None
    if "flags" in found["table"][0]:  # a dormant table filters nothing
        return None
    if sorted(body["name"] for body in found["counter"]) != sorted(c.value for c in GuardCounter):
        return None
    if _sorted(found["chain"]) != _sorted(_chains()):
        return None
    ports = _ports_of(found["rule"][0])
    if not ports or _sorted(found["rule"]) != _sorted(_rules(ports)):
        return None
    return ports


def _ports_of(rule: Json) -> tuple[int, ...]:
    try:
        right = rule["expr"][0]["match"]["right"]
    except (KeyError, IndexError, TypeError):
        return ()
    values = right.get("set") if isinstance(right, dict) else [right]
    if not isinstance(values, list) or not all(type(v) is int for v in values):
        return ()
    return tuple(sorted(values))


def _sorted(bodies: list[Json]) -> list[str]:
    """Comparable texts of objects without the handles that the kernel gives."""
    return sorted(repr(_canonical({k: v for k, v in b.items() if k != "handle"})) for b in bodies)


def _canonical(value: object) -> object:
    if isinstance(value, dict):
        if set(value) == {"set"}:
            return ("set", sorted(value["set"], key=repr))
        return sorted((key, _canonical(item)) for key, item in value.items())
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return value
