"""Reads the YAML files that people write, so that every complaint names file, line and field.

A `YamlSection` is one mapping of such a file. The reader of a file takes the fields that it knows,
each by its type, and then calls `close()`: whatever was not taken is unknown and is refused.
Nothing here opens a file: text comes in, with the name that complaints should show.

Only plain YAML is understood: no tags, no merge keys, no duplicate fields.
"""

import re
from collections.abc import Iterable
from enum import Enum
from typing import TypeVar

import yaml

from geneveil.model.errors import ConfigError

EnumT = TypeVar("EnumT", bound=Enum)
ValueT = TypeVar("ValueT")

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")

_STR = "tag:yaml.org,2002:str"
_INT = "tag:yaml.org,2002:int"
_BOOL = "tag:yaml.org,2002:bool"
_NULL = "tag:yaml.org,2002:null"


def parse_yaml(text: str, file: str) -> "YamlSection":
    """The top mapping of a YAML document.

    Raises:
        ConfigError: not YAML, more than one document, or not a mapping; names file and line.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        raise ConfigError(f"{where}: not YAML", why=error.problem or "") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not YAML", why=str(error).splitlines()[0]) from None
    if node is None:
        raise ConfigError(f"{file}: the file is empty")
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{file}:{node.start_mark.line + 1}: expected fields at the top")
    return YamlSection(node, file, "")


class YamlSection:
    """One mapping of the file; `path` is its place, such as `operator`."""

    def __init__(self, node: yaml.MappingNode | None, file: str, path: str) -> None:
        self._file = file
        self._path = path
        self._line = node.start_mark.line + 1 if node else 0
        self._values: dict[str, yaml.Node] = {}
        self._lines: dict[str, int] = {}
        self._taken: set[str] = set()
        for key, value in node.value if node else ():
            self._add(key, value)

    def _add(self, key: yaml.Node, value: yaml.Node) -> None:
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        line = key.start_mark.line + 1
        if name in self._values:
            first = self._lines[name]
            raise ConfigError(
                f"{self._file}:{line}: field {self._full(name)} stands here twice",
                why=f"the first is on line {first}",
            )
        self._values[name] = value
        self._lines[name] = line

    def _full(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def has(self, key: str) -> bool:
        """Whether the field is written at all (an empty value counts as not written)."""
        if self.is_empty(key):
            self._taken.add(key)
            return False
        return key in self._values

    def is_empty(self, key: str) -> bool:
        """Whether the field is written without a value."""
        node = self._values.get(key)
        return node is not None and node.tag == _NULL

    def line_of(self, key: str) -> int:
        """The line of a field, or of the section when the field is absent."""
        return self._lines.get(key, self._line)

    def refuse(self, key: str, why: str, remedy: str = "") -> ConfigError:
        """The error to raise for a field whose value makes no sense to the caller."""
        what = f"{self._file}:{self.line_of(key)}: field {self._full(key)}"
        return ConfigError(what, why=why, remedy=remedy)

    def text(self, key: str, default: str | None = None) -> str:
        """A text; required when there is no default."""
        return self._scalar(key, default, {_STR}, "a text")

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number in decimal."""
        fallback = None if default is None else str(default)
        return self._number(key, self._scalar(key, fallback, {_INT}, "a whole number"))

    def boolean(self, key: str, default: bool | None = None) -> bool:
        """true or false."""
        fallback = None if default is None else ("true" if default else "false")
        value = self._scalar(key, fallback, {_BOOL}, "true or false")
        return value.lower() in ("true", "yes", "on")

    def choice(self, key: str, words: type[EnumT], default: EnumT | None = None) -> EnumT:
        """One of an enumeration's values, spelled exactly."""
        fallback = None if default is None else str(default.value)
        value = self._scalar(key, fallback, {_STR, _INT, _BOOL}, "a word")
        for word in words:
            if word.value == value:
                return word
        raise self.refuse(key, f"{value!r} is not one of {_listed(w.value for w in words)}")

    def integers(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A list of whole numbers, in the order written."""
        if not self.has(key):
            return self._default(key, default)
        node = self._take(key)
        if not isinstance(node, yaml.SequenceNode) or any(n.tag != _INT for n in node.value):
            raise self.refuse(key, "expected a list of whole numbers")
        return tuple(self._number(key, item.value) for item in node.value)

    def section(self, key: str) -> "YamlSection":
        """A mapping inside this one; an absent one has no fields."""
        if not self.has(key):
            return YamlSection(None, self._file, self._full(key))
        node = self._take(key)
        if not isinstance(node, yaml.MappingNode):
            raise self.refuse(key, "expected fields under it")
        return YamlSection(node, self._file, self._full(key))

    def close(self) -> None:
        """Refuse what was not taken: a mistyped field must not pass for a default.

        Raises:
            ConfigError: names the first unknown field, its line and the fields that exist here.
        """
        for name in self._values:
            if name not in self._taken:
                known = _listed(sorted(self._taken)) or "none"
                raise self.refuse(name, "there is no such field", f"known here: {known}")

    def expect(self, key: str, value: str) -> None:
        """A field that must stand there with exactly this text, such as `kind`."""
        found = self.text(key)
        if found != value:
            raise self.refuse(key, f"expected {value}, found {found}")

    def _take(self, key: str) -> yaml.Node:
        self._taken.add(key)
        return self._values[key]

    def _scalar(self, key: str, default: str | None, tags: set[str], expected: str) -> str:
        self._taken.add(key)
        if not self.has(key):
            return self._default(key, default)
        node = self._take(key)
        if not isinstance(node, yaml.ScalarNode) or node.tag not in tags:
            raise self.refuse(key, f"expected {expected}")
        return str(node.value)

    def _default(self, key: str, default: ValueT | None) -> ValueT:
        self._taken.add(key)
        if default is None:
            raise self.refuse(key, "it is missing")
        return default

    def _number(self, key: str, text: str) -> int:
        # YAML's own reading of 6_081, 010 and 0x17 is not what everybody takes them for.
        if _DECIMAL.fullmatch(text) is None:
            raise self.refuse(key, f"expected a whole number in decimal, found {text!r}")
        return int(text)


def _listed(words: Iterable[object]) -> str:
    return ", ".join(str(word) for word in words)
