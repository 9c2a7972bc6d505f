"""What the script's writer does not know is refused. That the rest is right, a kernel says
(tests/real/test_guard_boot.py)."""

from typing import Any

import pytest

from geneveil.guard import script
from geneveil.guard.script import render_guard_script
from geneveil.model.guard import GuardSpec

PLACE = {"family": "inet", "table": "t", "chain": "c"}
CHAIN = {"family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "input"}
PORT = {"payload": {"protocol": "udp", "field": "dport"}}


def _rule(*statements: Any) -> dict[str, Any]:
    return {"add": {"rule": {**PLACE, "expr": list(statements)}}}


def _match(**other: Any) -> dict[str, Any]:
    return {"match": {"op": "==", "left": PORT, "right": 1, **other}}


@pytest.mark.parametrize(
    "command",
    [
        {"flush": {"ruleset": None}},
        {"add": {"set": {**PLACE, "name": "s"}}},
        {"add": {"chain": {**CHAIN, "prio": 0, "policy": "drop", "dev": "eth0"}}},
        {"add": {"table": {"family": "inet", "name": "t", "flags": "dormant"}}},
        _rule({"mangle": {}}),
        _rule({"drop": {"x": 1}}),
        _rule({"counter": {"packets": 0}}),
        _rule(_match(op="~")),
        _rule(_match(left={"payload": {"base": "th", "offset": 0, "len": 8, "x": 1}})),
        _rule(_match(left={"ipsec": {"key": "reqid", "dir": "in", "spnum": 1}})),
        _rule(_match(left={"meta": {"key": "mark", "x": 1}})),
        _rule(_match(right={"map": []})),
        _rule(_match(right=None)),
    ],
    ids=str,
)
def test_what_is_not_known_is_never_left_out(
    command: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "encode_replace", lambda *_: {"nftables": [command]})
    with pytest.raises(ValueError, match="not known"):
        render_guard_script(GuardSpec((6081,)))


def test_every_way_of_saying_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    address = {"payload": {"protocol": "ip", "field": "saddr"}}
    prefix = {"prefix": {"addr": "192.0.2.0", "len": 24}}
    command = _rule(
        _match(op="!=", right={"set": [1, {"range": [3, 5]}]}),
        _match(left=address, right=prefix),
        _match(left={"meta": {"key": "iifname"}}, right="lo"),
        _match(left={"rt": {"key": "ipsec"}}, right=True),
        _match(left={"payload": {"base": "th", "offset": 120, "len": 8}}, right=0),
        _match(left={"ipsec": {"key": "reqid", "dir": "in", "spnum": 0}}, right=7),
        {"accept": None},
    )
    monkeypatch.setattr(script, "encode_replace", lambda *_: {"nftables": [command]})
    assert render_guard_script(GuardSpec((6081,))) == (
        "add rule inet t c udp dport != { 1, 3-5 } ip saddr 192.0.2.0/24 meta iifname "
        '"lo" rt ipsec exists @th,120,8 0 ipsec in reqid 7 accept\n'
    )
