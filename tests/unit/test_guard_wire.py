"""The guard's ruleset: what is written reads back as ours, and any alteration does not."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from geneveil.guard.own_table import DPORT, L4PROTO
from geneveil.guard.wire import ABSENT, encode_replace, parse_table
from geneveil.model.connection import FIRST_REQID, LAST_REQID, Connection
from geneveil.model.errors import KernelError
from geneveil.model.guard import GuardCounter, GuardSpec, Tally

SPEC = GuardSpec((6081, 7000))
TALLIES = {GuardCounter.CLEARTEXT_OUT: Tally(5, 500), GuardCounter.FORWARDED: Tally(1, 60)}


def listing(spec: GuardSpec = SPEC) -> dict[str, Any]:
    """What the kernel would list: the added objects with the handles that it gives them.

    That it really does is shown in tests/real/test_guard_nft.py.
    """
    items: list[dict[str, Any]] = [{"metainfo": {"version": "1.1.3"}}]
    for handle, command in enumerate(encode_replace(spec, TALLIES)["nftables"][2:], 1):
        (kind, body), *_ = command["add"].items()
        items.append({kind: {**body, "handle": handle}})
    return dict(json.loads(json.dumps({"nftables": items})))


def objects(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item[kind] for item in document["nftables"] if kind in item]


def test_what_is_written_reads_back_as_the_same_guard() -> None:
    observed = parse_table(listing())
    assert observed.stands_for(SPEC)
    assert observed.counters[GuardCounter.CLEARTEXT_OUT] == Tally(5, 500)
    assert observed.counters[GuardCounter.CLEARTEXT_IN] == Tally(0, 0)


def test_one_port_is_written_as_nft_prints_it() -> None:
    assert parse_table(listing(GuardSpec((6081,)))).stands_for(GuardSpec((6081,)))


def test_another_set_of_ports_is_another_guard() -> None:
    assert not parse_table(listing()).stands_for(GuardSpec((6081,)))


def test_the_order_of_a_set_does_not_matter() -> None:
    document = listing()
    sets = [rule["expr"][0]["match"]["right"] for rule in objects(document, "rule")]
    for ports in [right for right in sets if isinstance(right, dict)]:
        ports["set"].reverse()
    assert parse_table(document).stands_for(SPEC)


def _rule(document: dict[str, Any], chain: str) -> dict[str, Any]:
    return next(rule for rule in objects(document, "rule") if rule["chain"] == chain)


def _drop_object(kind: str) -> Callable[[dict[str, Any]], None]:
    def alter(document: dict[str, Any]) -> None:
        victim = next(item for item in document["nftables"] if kind in item)
        document["nftables"].remove(victim)

    return alter


def _accept_first(document: dict[str, Any]) -> None:
    rule = {"family": "inet", "table": "geneveil", "chain": "output", "expr": [{"accept": None}]}
    document["nftables"].append({"rule": rule})


def _accept_instead(document: dict[str, Any]) -> None:
    _rule(document, "output")["expr"][-1] = {"accept": None}


def _match_turned_round(document: dict[str, Any]) -> None:
    _rule(document, "input")["expr"][1]["match"]["right"] = True


def _other_port(document: dict[str, Any]) -> None:
    _rule(document, "input")["expr"][0]["match"]["right"] = 6082


def _other_priority(document: dict[str, Any]) -> None:
    objects(document, "chain")[0]["prio"] = 100


def _other_hook(document: dict[str, Any]) -> None:
    objects(document, "chain")[0]["hook"] = "postrouting"


def _no_look_after_nat(document: dict[str, Any]) -> None:
    document["nftables"].remove({"rule": _rule(document, "postrouting")})


def _look_before_nat(document: dict[str, Any]) -> None:
    chain = next(c for c in objects(document, "chain") if c["name"] == "postrouting")
    chain["prio"] = 0


def _dormant(document: dict[str, Any]) -> None:
    objects(document, "table")[0]["flags"] = ["dormant"]


def _a_set_more(document: dict[str, Any]) -> None:
    document["nftables"].append({"set": {"family": "inet", "table": "geneveil", "name": "x"}})


@pytest.mark.parametrize(
    "alter",
    [
        _drop_object("rule"),
        _drop_object("chain"),
        _drop_object("counter"),
        _accept_first,
        _accept_instead,
        _match_turned_round,
        _other_port,
        _other_priority,
        _other_hook,
        _no_look_after_nat,
        _look_before_nat,
        _dormant,
        _a_set_more,
    ],
)
def test_any_alteration_is_seen(alter: Callable[[dict[str, Any]], None]) -> None:
    document = listing()
    assert parse_table(document).stands_for(SPEC)
    alter(document)
    observed = parse_table(document)
    assert observed.present
    assert observed.ports is None


WIDE = GuardSpec((4789, 6081), (47,))


def test_protocols_are_part_of_the_guard() -> None:
    observed = parse_table(listing(WIDE))
    assert observed.stands_for(WIDE)
    assert not observed.stands_for(GuardSpec((4789, 6081)))
    assert not parse_table(listing(GuardSpec((4789, 6081)))).stands_for(WIDE)


def test_a_protocol_missing_in_one_chain_is_seen() -> None:
    document = listing(WIDE)
    victim = next(
        rule
        for rule in objects(document, "rule")
        if rule["chain"] == "input" and "meta" in rule["expr"][0]["match"]["left"]
    )
    document["nftables"].remove({"rule": victim})
    assert parse_table(document).ports is None


@pytest.mark.parametrize("chain", ["output", "postrouting"])
def test_what_leaves_is_looked_at_on_both_sides_of_nat(chain: str) -> None:
    body = next(c for c in objects(listing(), "chain") if c["name"] == chain)
    assert body["hook"] == chain
    assert body["prio"] == {"output": 0, "postrouting": 300}[chain]  # srcnat is 100
    missing = {"match": {"op": "==", "left": {"rt": {"key": "ipsec"}}, "right": False}}
    assert missing in _rule(listing(), chain)["expr"]


def _shape_gone(document: dict[str, Any]) -> None:
    for rule in objects(document, "rule"):
        if rule["chain"] == "output" and len(rule["expr"]) == 6:
            document["nftables"].remove({"rule": rule})
            return
    raise AssertionError("no rule looks at the shape")


def as_older_nft_lists_it(value: Any) -> Any:
    """nft 1.0.6, of Debian 12: 22 bits are the low ones of 24."""
    if value == {"payload": {"base": "th", "offset": 74, "len": 22}}:
        return {"&": [{"payload": {"base": "th", "offset": 72, "len": 24}}, 0x3FFFFF]}
    if isinstance(value, dict):
        return {key: as_older_nft_lists_it(item) for key, item in value.items()}
    return [as_older_nft_lists_it(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("mask", [0x3FFFFF, 0x1FFFFF, 0x3FFFFE, 0xFFFFFF, 0, -1])
def test_the_listing_of_an_older_nft_is_the_same_guard(mask: int) -> None:
    document = as_older_nft_lists_it(listing(WIDE))
    assert document != listing(WIDE)
    assert parse_table(document).stands_for(WIDE)
    for rule in objects(document, "rule"):
        for expression in rule["expr"]:
            if "&" in expression.get("match", {}).get("left", {}):
                expression["match"]["left"]["&"][1] = mask
    assert parse_table(document).stands_for(WIDE) == (mask == 0x3FFFFF)


def _other_reqids(document: dict[str, Any]) -> None:
    for rule in objects(document, "rule"):
        for expression in rule["expr"]:
            if "ipsec" in expression.get("match", {}).get("left", {}):
                expression["match"]["right"]["range"][0] = 1
                return
    raise AssertionError("no rule looks at reqids")


@pytest.mark.parametrize("alter", [_shape_gone, _other_reqids])
def test_shape_and_reqids_are_part_of_the_guard(alter: Callable[[dict[str, Any]], None]) -> None:
    document = listing(WIDE)
    assert parse_table(document).stands_for(WIDE)
    alter(document)
    assert parse_table(document).ports is None
    assert parse_table(document).named == WIDE


def test_what_icmp_errors_quote_is_part_of_the_guard_and_names_no_protocol() -> None:
    document = listing(WIDE)
    quoting = [r for r in objects(document, "rule") if {"counter": "quoted"} in r["expr"]]
    assert len(quoting) == 4  # by port and by shape, of either family
    document["nftables"].remove({"rule": quoting[0]})
    observed = parse_table(document)
    assert observed.ports is None
    assert observed.named == WIDE  # ICMP itself must never be guarded because of these
    # An older version takes what a rule begins with for a port or a protocol.
    first = [rule["expr"][0]["match"]["left"] for rule in quoting]
    assert not [left for left in first if left in (DPORT, L4PROTO)]


def test_every_reqid_of_ours_is_among_those_that_the_guard_lets_pass() -> None:
    reqids = [
        connection.reqid(child)
        for number in range(500)
        for connection in [Connection("a", f"n{number}", "192.0.2.1", "192.0.2.2", (6081, 7000))]
        for child in connection.children
    ]
    assert all(FIRST_REQID <= reqid <= LAST_REQID for reqid in reqids)
    (left, right), *_ = [
        (expression["match"]["left"], expression["match"]["right"])
        for rule in objects(listing(), "rule")
        for expression in rule["expr"]
        if "ipsec" in expression.get("match", {}).get("left", {})
    ]
    assert left == {"ipsec": {"key": "reqid", "dir": "out", "spnum": 0}}
    assert right == {"range": [FIRST_REQID, LAST_REQID]}


def older_listing() -> dict[str, Any]:
    """The table as it was before it had a postrouting chain."""
    document = listing(WIDE)
    document["nftables"] = [
        item
        for item in document["nftables"]
        if "postrouting"
        not in (item.get("rule", {}).get("chain"), item.get("chain", {}).get("name"))
    ]
    return document


@pytest.mark.parametrize("alter", [_accept_first, _dormant, _look_before_nat])
def test_at_the_start_a_guard_is_never_narrowed(alter: Callable[[dict[str, Any]], None]) -> None:
    document = listing(WIDE)
    alter(document)
    for listed in (listing(WIDE), document, older_listing()):
        assert GuardSpec((6081, 7000)).widened_by(parse_table(listed)) == GuardSpec(
            (4789, 6081, 7000), (47,)
        )
    assert GuardSpec((6081,)).widened_by(ABSENT) == GuardSpec((6081,))


def test_the_table_of_an_older_version_is_an_altered_one() -> None:
    observed = parse_table(older_listing())
    assert observed.present
    assert observed.ports is None
    assert observed.counters[GuardCounter.CLEARTEXT_OUT] == Tally(5, 500)


def test_rules_that_are_not_ours_do_not_widen_it() -> None:
    document = listing()
    dport = {"left": {"payload": {"protocol": "udp", "field": "dport"}}, "op": "==", "right": 53}
    for verdict in ([{"drop": None}], [{"counter": "cleartext_in"}, {"accept": None}]):
        rule = {"chain": "input", "expr": [{"match": dport}, *verdict]}
        document["nftables"].append({"rule": rule})
    assert parse_table(document).named == SPEC


def test_an_absent_table_stands_for_nothing() -> None:
    assert not ABSENT.stands_for(SPEC)


@pytest.mark.parametrize("document", [{}, {"nftables": "x"}])
def test_what_nft_should_never_print_is_an_error(document: dict[str, Any]) -> None:
    with pytest.raises(KernelError):
        parse_table(document)


def test_the_replacement_is_one_transaction_that_keeps_the_counts() -> None:
    commands = encode_replace(SPEC, TALLIES)["nftables"]
    verbs = [next(iter(command)) for command in commands]
    assert verbs[:3] == ["add", "delete", "add"]
    assert "flush" not in verbs
    counters = [c["add"]["counter"] for c in commands if "counter" in c.get("add", {})]
    assert {c["name"]: c["packets"] for c in counters} == {
        "cleartext_out": 5,
        "cleartext_in": 0,
        "forwarded": 1,
        "quoted": 0,
    }


def test_nothing_outside_the_own_table_is_named() -> None:
    for command in encode_replace(SPEC, {})["nftables"]:
        ((_verb, target),) = command.items()
        ((kind, body),) = target.items()
        assert body["family"] == "inet"
        assert (body["name"] if kind == "table" else body["table"]) == "geneveil"


@pytest.mark.parametrize("ports", [(), (7000, 6081), (6081, 6081)])
def test_a_guard_for_no_ports_or_disordered_ones_cannot_be_asked_for(
    ports: tuple[int, ...],
) -> None:
    with pytest.raises(ValueError, match="ascending"):
        GuardSpec(ports)
    with pytest.raises(ValueError, match="ascending"):
        GuardSpec((6081,), (47, 47))
