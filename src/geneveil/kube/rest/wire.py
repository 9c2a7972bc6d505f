"""Answers of the Kubernetes API to values and errors. Pure."""

import json
from typing import Any

from geneveil.kube.rest.port import (
    AbsentError,
    AccessError,
    ConflictError,
    Document,
    Event,
    GoneError,
    InvalidError,
)
from geneveil.model.errors import GeneveilError, OperatorUnreachableError

MAX_RETRY_AFTER_SECONDS = 600.0
_MOST_WORDS = 300
_KINDS = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK"})
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _GONE = 401, 403, 404, 409, 410
_INVALID = frozenset({400, 415, 422})
_FORBIDDEN_REMEDY = "apply the role of geneveil-agent: kubectl auth can-i --list --as=…"
_UNBELIEVED_REMEDY = (
    "look at the token file: it must be one of the Pod that runs on this node, and in its time"
)


def parse_object(body: bytes) -> Document:
    """Read one object.

    Raises:
        ValueError: it is none.
    """
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("not an object")
    return document


def explain_status(status: int, body: bytes, doing: str, retry_after: float) -> GeneveilError:
    """The error for an answer that is no success.

    Args:
        doing: what was asked, such as `get configmap geneveil-trust`.
        retry_after: seconds that the server asked to be left alone.
    """
    why = _words(body) or f"status {status}"
    what = f"the API server refused to {doing}"
    if status == _UNAUTHORIZED:
        return AccessError(
            what, why=f"it does not believe the token: {why}", remedy=_UNBELIEVED_REMEDY
        )
    if status == _FORBIDDEN:
        return AccessError(what, why=why, remedy=_FORBIDDEN_REMEDY)
    if status == _NOT_FOUND:
        return AbsentError(f"cannot {doing}: there is none", why=why)
    if status == _CONFLICT:
        return ConflictError(what, why=why)
    if status == _GONE:
        return GoneError(what, why=why)
    if status in _INVALID:
        return InvalidError(what, why=why)
    # 429, 5xx, and whatever a proxy on the way may say
    return OperatorUnreachableError(
        f"the API server cannot {doing} now",
        why=why,
        retry_after_seconds=min(retry_after, MAX_RETRY_AFTER_SECONDS),
    )


def parse_event(line: bytes, doing: str) -> Event:
    """Read one line of a watch.

    Raises:
        GoneError: the server does not remember the version that was asked for.
        GeneveilError: it ends the watch for another reason.
        ValueError: no event.
    """
    document = parse_object(line)
    kind, inner = document.get("type"), document.get("object")
    if not isinstance(inner, dict):
        raise ValueError("an event without an object")
    if kind == "ERROR":
        code = inner.get("code")
        raise explain_status(
            code if type(code) is int else 500, json.dumps(inner).encode(), doing, 0
        )
    if kind not in _KINDS:
        raise ValueError(f"an event of a kind that is not known: {str(kind)[:40]!r}")
    return Event(str(kind), inner)


def version_of(document: Document) -> str:
    """metadata.resourceVersion; empty if there is none."""
    return str(field(document, "metadata", "resourceVersion") or "")


def field(document: Any, *path: str) -> Any:
    """A field within a field; None where there is no such thing."""
    for name in path:
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def _words(body: bytes) -> str:
    """The message of a Status object, or the beginning of whatever it is."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return " ".join(body[:_MOST_WORDS].decode("ascii", "replace").split())
    message = field(document, "message")
    return message[:_MOST_WORDS] if isinstance(message, str) else ""
