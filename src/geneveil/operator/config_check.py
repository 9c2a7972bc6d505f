"""The configuration file's text to a checked configuration, or every error in it at once.

cluster.yaml:7: spec.encapsulaton: unknown field; did you mean encapsulation?
"""

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from geneveil.model.errors import ConfigError
from geneveil.operator.config import (
    DURATION_PATTERN,
    LISTEN_PATTERN,
    NAME_PATTERN,
    SPAN_PATTERN,
    ClusterIPsec,
)
from geneveil.operator.config_yaml import Path, read_yaml

_PATTERN_TEXTS = {
    DURATION_PATTERN: "must be a time such as 30s, 10m, 6h or 1d",
    NAME_PATTERN: "must be 1 to 63 of a-z, 0-9 and hyphens, beginning and ending with no hyphen",
    SPAN_PATTERN: "must be a span such as 10y, 54mo, 4y6mo or 30d",
    LISTEN_PATTERN: "must be an address and a port such as 0.0.0.0:9443 or [::]:9443",
}
_RANGE_TEXTS = {
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length} item",
    "too_long": "must have at most {max_length} items",
}
_TYPE_TEXTS = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "tuple_type": "must be a list",
    "model_type": "must be a mapping of fields",
    "missing": "is missing",
}


def parse_config(text: str, name: str) -> ClusterIPsec:
    """Read a configuration file.

    Args:
        name: the file's name, for messages.
    Raises:
        ConfigError: one line per error, each with file, line and field; nothing is accepted in
            part.
    """
    located = read_yaml(text, name)
    try:
        return ClusterIPsec.model_validate(_lists_to_tuples(located.value))
    except ValidationError as error:
        lines = sorted(
            (located.line_of(_path(detail)), _describe(detail))
            for detail in _drop_echoes(error.errors())
        )
        report = "\n".join(f"{name}:{line}: {message}" for line, message in lines)
        raise ConfigError(report) from None


def _drop_echoes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """A list whose items are wrong is not also too short."""
    parents = {_path(detail)[:-1] for detail in details}
    return [
        detail
        for detail in details
        if detail["type"] != "too_short" or _path(detail) not in parents
    ]


def _lists_to_tuples(value: Any) -> Any:
    """Strict validation wants tuples where the schema has tuples; YAML has only lists."""
    if isinstance(value, dict):
        return {key: _lists_to_tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_lists_to_tuples(item) for item in value)
    return value


def _path(detail: ErrorDetails) -> Path:
    return tuple(detail["loc"])


def _describe(detail: ErrorDetails) -> str:
    path = _path(detail)
    where = ".".join(str(part) for part in path) or "the document"
    return f"{where}: {_explain(detail, path)}"


def _explain(detail: ErrorDetails, path: Path) -> str:
    kind = detail["type"]
    context: dict[str, Any] = detail.get("ctx") or {}
    given = detail.get("input")
    if kind == "extra_forbidden":
        return "unknown field" + _suggestion(path)
    if kind == "literal_error":
        return f"must be {context['expected']}, not {_shown(given)}" + _boolean_hint(given)
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        known = _PATTERN_TEXTS.get(context["pattern"], f"must match {context['pattern']}")
        return f"{known}, not {_shown(given)}"
    if kind in _RANGE_TEXTS:
        return f"{_RANGE_TEXTS[kind].format(**context)}, not {_shown(given)}"
    if kind in _TYPE_TEXTS:
        text = _TYPE_TEXTS[kind]
        return text if kind == "missing" else f"{text}, not {_shown(given)}"
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}, not {_shown(given)}"


def _shown(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _boolean_hint(value: object) -> str:
    return " (YAML reads on, off, yes and no as true and false)" if type(value) is bool else ""


def _suggestion(path: Path) -> str:
    model = _model_at(path[:-1])
    if model is None:
        return ""
    names = [field.alias or key for key, field in model.model_fields.items()]
    close = difflib.get_close_matches(str(path[-1]), names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(names)}"


def _model_at(path: Path) -> type[BaseModel] | None:
    model: type[BaseModel] = ClusterIPsec
    for part in path:
        fields = {field.alias or key: field for key, field in model.model_fields.items()}
        if part not in fields:
            return None
        annotation = fields[str(part)].annotation
        inner = [annotation, *get_args(annotation)]
        models = [item for item in inner if isinstance(item, type) and issubclass(item, BaseModel)]
        if not models:
            return None
        model = models[0]
    return model
