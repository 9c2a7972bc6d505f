"""YAML text to plain values, and where in the text each of them stands.

Only what JSON has is accepted: mappings with text keys, lists, scalars. Aliases are refused (a
short file can unfold to gigabytes with them), and so is a key that stands twice.
"""

from dataclasses import dataclass, field
from typing import Any

import yaml

from geneveil.model.errors import ConfigError

MAX_CONFIG_BYTES = 64 * 1024

Path = tuple[str | int, ...]


@dataclass
class Located:
    """Values and lines.

    Attributes:
        value: dicts, lists and scalars.
        lines: path to line number, counted from 1; of a field, the line of its key.
    """

    value: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int:
        """The line of this path, or of the nearest thing that contains it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read_yaml(text: str, name: str) -> Located:
    """Read one YAML document.

    Raises:
        ConfigError: names the file and the line.
    """
    if len(text.encode()) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{name} is larger than {MAX_CONFIG_BYTES // 1024} KiB")
    try:
        _refuse_aliases(text, name)
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{name}:1: expected a mapping that begins with apiVersion")
        located = Located(None, {(): root.start_mark.line + 1})
        located.value = _convert(loader, root, (), located.lines, name)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{name}:{line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{name}: not YAML: {detail}") from None
    return located


def _refuse_aliases(text: str, name: str) -> None:
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise ConfigError(f"{name}:{line}: YAML aliases are not accepted")


def _convert(
    loader: yaml.SafeLoader, node: yaml.Node, path: Path, lines: dict[Path, int], name: str
) -> Any:
    if isinstance(node, yaml.SequenceNode):
        values = []
        for index, item in enumerate(node.value):
            lines[*path, index] = item.start_mark.line + 1
            values.append(_convert(loader, item, (*path, index), lines, name))
        return values
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TEXT_TAG:
                raise ConfigError(f"{name}:{line}: a field's name must be text")
            if key in mapping:
                raise ConfigError(f"{name}:{line}: {key} stands twice")
            lines[*path, key] = line
            mapping[key] = _convert(loader, value_node, (*path, key), lines, name)
        return mapping
    return loader.construct_object(node, deep=True)


_TEXT_TAG = "tag:yaml.org,2002:str"
