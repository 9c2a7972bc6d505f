"""Fields within fields of an object of the API. Pure."""

from typing import Any


def field(document: Any, *path: str) -> Any:
    """A field within a field; None where there is no such thing."""
    for name in path:
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document
