"""A transaction of libnftables JSON as a script for `nft -f`. Pure.

For a boot at which nothing of geneveil runs yet: whoever loads the script needs nft and no Python.
It says what `geneveil.guard.wire` decided and adds nothing, so there is one place for the rules.
What this does not know how to say is an error, never left out: a rule less, or one that matches
more, would be another guard.

Source: libnftables-json(5) and nft(8), which name the same things.
"""

from collections.abc import Mapping
from typing import Any

from geneveil.guard.wire import encode_replace
from geneveil.model.guard import GuardSpec

_OPERATORS = {"==": "", "!=": "!= ", "in": "", "<": "< ", ">": "> ", "<=": "<= ", ">=": ">= "}
_EXISTENCE = {True: "exists", False: "missing"}


def render_guard_script(spec: GuardSpec) -> str:
    """The script that puts the guard in place of whatever its table holds, in one transaction.

    Raises:
        ValueError: the guard has something that this does not know how to write.
    """
    lines = [_command(command) for command in encode_replace(spec, {})["nftables"]]
    return "".join(f"{line}\n" for line in lines)


def _command(command: Mapping[str, Any]) -> str:
    verb, kind, body = _only_nested(command)
    if verb not in ("add", "delete"):
        raise ValueError(f"nft command {verb!r} is not known")
    match kind:
        case "table":
            place, detail = "", _table(body)
        case "counter":
            place, detail = f" {body['table']}", _counter(body)
        case "chain":
            place, detail = f" {body['table']}", _chain(body)
        case "rule":
            statements = " ".join(_statement(one) for one in body["expr"])
            return f"{verb} rule {body['family']} {body['table']} {body['chain']} {statements}"
        case _:
            raise ValueError(f"nft object {kind!r} is not known")
    return f"{verb} {kind} {body['family']}{place} {body['name']}{detail}"


def _table(body: Mapping[str, Any]) -> str:
    _refuse_others(body, "family", "name", "comment")
    return f' {{ comment "{body["comment"]}"; }}' if "comment" in body else ""


def _counter(body: Mapping[str, Any]) -> str:
    _refuse_others(body, "family", "table", "name", "packets", "bytes")
    return f" {{ packets {body['packets']} bytes {body['bytes']} }}"


def _chain(body: Mapping[str, Any]) -> str:
    _refuse_others(body, "family", "table", "name", "type", "hook", "prio", "policy")
    hook = f"type {body['type']} hook {body['hook']} priority {body['prio']}"
    return f" {{ {hook}; policy {body['policy']}; }}"


def _statement(statement: Mapping[str, Any]) -> str:
    kind, body = _only(statement)
    match kind, body:
        case "match", {"op": op, "left": left, "right": right} if op in _OPERATORS:
            return f"{_expression(left)} {_OPERATORS[op]}{_value(right)}"
        case "counter", str():
            return f'counter name "{body}"'
        case (("drop" | "accept" | "return"), None):
            return str(kind)
    raise ValueError(f"nft statement {statement!r} is not known")


def _expression(expression: Mapping[str, Any]) -> str:
    kind, body = _only(expression)
    match kind, body:
        case "payload", {"protocol": protocol, "field": field, **rest} if not rest:
            return f"{protocol} {field}"
        case "payload", {"base": base, "offset": offset, "len": bits, **rest} if not rest:
            return f"@{base},{offset},{bits}"
        case "ipsec", {"key": key, "dir": direction, "spnum": 0, **rest} if not rest:
            return f"ipsec {direction} {key}"
        case (("meta" | "rt" | "ct"), {"key": key, **rest}) if not rest:
            return f"{kind} {key}"
    raise ValueError(f"nft expression {expression!r} is not known")


def _value(value: object) -> str:
    match value:
        case bool():
            return _EXISTENCE[value]
        case int():
            return str(value)
        case str():
            return f'"{value}"'
        case {"set": list(items)}:
            return "{ " + ", ".join(_value(item) for item in items) + " }"
        case {"range": [low, high]}:
            return f"{_value(low)}-{_value(high)}"
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
    raise ValueError(f"nft value {value!r} is not known")


def _only(body: Mapping[str, Any]) -> tuple[str, Any]:
    if len(body) != 1:
        raise ValueError(f"nft object {body!r} is not known")
    return next(iter(body.items()))


def _only_nested(command: Mapping[str, Any]) -> tuple[str, str, Mapping[str, Any]]:
    verb, inner = _only(command)
    return (verb, *_only(inner))


def _refuse_others(body: Mapping[str, Any], *known: str) -> None:
    others = set(body) - set(known)
    if others:
        raise ValueError(f"nft attributes {sorted(others)} are not known")
