"""The JSON Schema of a node's status, made from the classes that it is written from. Pure.

docs/schema/node-status.schema.json is what `status_schema` returns; a test keeps them equal. The
JSON differs from the classes in few things, all of them here: names are in camel case, SPIs are
texts, a health value is one flat object, and some members are added.
"""

import re
from typing import Any

from geneveil.model.node_status import SCHEMA, NodeStatus
from geneveil.verify.codec import json_schema

STATUS_SCHEMA_ID = "urn:geneveil:node-status:1"

_ADDED = {
    "schema": {"const": SCHEMA, "description": "changes when the meaning of anything changes."},
    "well": {
        "type": "boolean",
        "description": "nothing is wrong, and every pair is up; with IPsec off, true.",
    },
    "summary": {"type": "string", "description": "one line for people."},
}
_OF_THE_COMMAND = {
    "agentRuns": {
        "type": "boolean",
        "description": "`geneveil status` only, not in status.json: the agent runs now.",
    },
    "stale": {
        "type": "boolean",
        "description": "`geneveil status` only: this must not be taken for the present, because "
        "the agent does not run or has not written for too long.",
    },
}
_SPI = {"type": "string", "pattern": "^([0-9a-f]{8})?$"}


def status_schema() -> dict[str, Any]:
    """JSON Schema of `geneveil status -o json`, and of status.json. Members may be added later: a
    reader leaves alone what it does not know."""
    whole = json_schema(NodeStatus, title="geneveil node status", identifier=STATUS_SCHEMA_ID)
    definitions = {name: _renamed(one) for name, one in whole["$defs"].items()}
    for peer in ("spiOut", "spiIn"):
        definitions["PeerStatus"]["properties"][peer].update(_SPI)
    _flatten_health(definitions)
    node = definitions["NodeStatus"]
    node["properties"] = {**_ADDED, **node["properties"], **_OF_THE_COMMAND}
    node["required"] = [*_ADDED, *node["required"]]
    return {**whole, "$defs": definitions}


def _renamed(definition: dict[str, Any]) -> dict[str, Any]:
    if "properties" not in definition:
        return definition
    properties = {_camel(name): _reworded(one) for name, one in definition["properties"].items()}
    rest = {key: _reworded(one) for key, one in definition.items() if key != "additionalProperties"}
    return {**rest, "properties": properties, "required": list(properties)}


def _reworded(value: Any) -> Any:
    """With members named as they are in the JSON."""
    if isinstance(value, str):
        return re.sub(r"`(\w+)`", lambda found: f"`{_camel(found[1])}`", value)
    if isinstance(value, dict) and "description" in value:
        return {**value, "description": _reworded(value["description"])}
    return value


def _flatten_health(definitions: dict[str, Any]) -> None:
    finding, value = definitions.pop("Finding"), definitions["HealthValue"]
    properties = {**finding["properties"], "since": value["properties"]["since"]}
    value.update(properties=properties, required=list(properties))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
