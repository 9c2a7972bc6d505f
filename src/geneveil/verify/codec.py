"""Frozen dataclasses to JSON values and back, and their JSON schema, from the type hints alone.

Evidence, report and published schema come from one set of classes, so none of them can drift.
Strict on the way in: an unknown, missing or mistyped field is an error that names it. Bytes are
lower-case hex, times ISO 8601 with an offset, enums their value, tuples arrays.
"""

import dataclasses
import inspect
import re
import types
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from geneveil.verify.errors import EvidenceError

T = TypeVar("T")

_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # control characters, save tab and new line
_PLAIN: dict[type, tuple[str, str]] = {
    str: ("string", "text"),
    int: ("integer", "a whole number"),
    float: ("number", "a number"),
    bool: ("boolean", "true or false"),
}


def encode(value: Any) -> Any:
    """JSON value of a dataclass tree. Raises TypeError for a type that has no JSON form here."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form")


def decode(cls: type[T], value: Any, where: str) -> T:
    """The dataclass that a JSON value stands for.

    Args:
        cls: a frozen dataclass.
        value: what `json.loads` returned.
        where: how to call the value in messages, such as a file name.
    Raises:
        EvidenceError: naming the field, what was expected and what was found.
    """
    result: T = _decode(cls, value, where)
    return result


def _wrong(where: str, expected: str, value: Any) -> EvidenceError:
    shown = repr(value)
    return EvidenceError(
        where, why=f"expected {expected}, found {shown[:60]}{'…' if len(shown) > 60 else ''}"
    )


def _decode(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (arg for arg in get_args(hint) if arg is not types.NoneType)
        return None if value is None else _decode(inner, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _wrong(where, "a list", value)
        item_hint = get_args(hint)[0]
        return tuple(_decode(item_hint, item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is not None:  # Mapping[str, X]
        if not isinstance(value, dict):
            raise _wrong(where, "an object", value)
        value_hint = get_args(hint)[1]
        return {
            _shown_as_it_is(k, where): _decode(value_hint, v, f"{where}.{k}")
            for k, v in value.items()
        }
    if dataclasses.is_dataclass(hint):
        return _decode_object(hint, value, where)
    return _decode_scalar(hint, value, where)


def _decode_object(cls: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in value:
        if name not in fields:
            named = _shown_as_it_is(name, where)
            raise EvidenceError(f"{where}.{named}", why="there is no such field")
    for name, field in fields.items():
        if name not in value and _required(field):
            raise EvidenceError(f"{where}.{name}", why="the field is missing")
    arguments = {n: _decode(hints[n], item, f"{where}.{n}") for n, item in value.items()}
    try:
        return cls(**arguments)
    except ValueError as error:  # raised by a class's own checks
        raise EvidenceError(where, why=str(error)) from error


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _decode_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is bytes:
        if not isinstance(value, str) or not _HEX.fullmatch(value):
            raise _wrong(where, "bytes in lower-case hex", value)
        return bytes.fromhex(value)
    if hint is datetime:
        return _decode_time(value, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            raise _wrong(where, "one of " + ", ".join(repr(m.value) for m in hint), value) from None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise _wrong(where, _PLAIN[hint][1], value)
    return _shown_as_it_is(value, where) if hint is str else value


def _shown_as_it_is(text: str, where: str) -> str:
    """Refuse what a terminal would obey: whoever wrote the evidence could paint another verdict."""
    if _OBEYED.search(text):
        raise _wrong(where, "text without control characters", text)
    return text


def _decode_time(value: Any, where: str) -> datetime:
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _wrong(where, "a time in ISO 8601", value) from None
    if time.tzinfo is None:
        raise _wrong(where, "a time with its offset from UTC", value)
    return time


def json_schema(cls: type, *, title: str, identifier: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of a dataclass tree; descriptions come from the docstrings."""
    definitions: dict[str, Any] = {}
    root = _schema_of(cls, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": identifier,
        "title": title,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _schema_of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (arg for arg in arguments if arg is not types.NoneType)
        return {"anyOf": [_schema_of(inner, definitions), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _schema_of(arguments[0], definitions)}
    if origin is not None:
        return {
            "type": "object",
            "additionalProperties": _schema_of(arguments[1], definitions),
        }
    if hint is bytes:
        return {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
    if hint is datetime:
        return {"type": "string", "format": "date-time"}
    if hint in _PLAIN:
        return {"type": _PLAIN[hint][0]}
    if hint.__name__ not in definitions:
        definitions[hint.__name__] = {}  # placeholder, should a class hold itself
        definitions[hint.__name__] = _definition(hint, definitions)
    return {"$ref": f"#/$defs/{hint.__name__}"}


def _definition(cls: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    summary, attributes = _docstring(cls)
    if issubclass(cls, Enum):
        return {"description": summary, "enum": [member.value for member in cls]}
    hints = get_type_hints(cls)
    properties: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        schema = _schema_of(hints[field.name], definitions)
        text = attributes.get(field.name)
        properties[field.name] = {"description": text, **schema} if text else schema
    return {
        "description": summary,
        "type": "object",
        "properties": properties,
        "required": [f.name for f in dataclasses.fields(cls) if _required(f)],
        "additionalProperties": False,
    }


def _docstring(cls: type) -> tuple[str, dict[str, str]]:
    text = inspect.getdoc(cls) or ""
    summary, _, rest = text.partition("\nAttributes:\n")
    attributes: dict[str, str] = {}
    name = ""
    for line in rest.splitlines():
        if match := re.match(r" {4}(\w+): (.*)", line):
            name = match[1]
            attributes[name] = match[2]
        elif name and line.startswith(" " * 8):
            attributes[name] += " " + line.strip()
        elif line.strip():
            break
    return " ".join(summary.split("\n\n")[0].split()), attributes
