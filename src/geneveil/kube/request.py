"""What is sent to an API server, and what its answers say. Pure.

One place for paths, queries, bodies and headers, so that whoever speaks to a server in another way
than `geneveil.kube.io` (a benchmark that plays thousands of agents) asks the very same.

Source: Kubernetes API concepts: resource URIs, watches and bookmarks, metadata-only lists, patches.
"""

import json
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

from geneveil.kube.errors import ApiUnavailableError, explain_status
from geneveil.kube.port import Change, Document, Kind, Selection, WatchEvent

REQUEST_SECONDS = 15.0
IDLE_WATCH_SECONDS = 100.0
"""A server that sends bookmarks is silent for about a minute at most."""

_METADATA = "application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1"


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        path: with its query.
        what: for people, in errors.
        idle_seconds: from when on a silent server counts as gone; 0 for the connection's own.
    """

    method: str
    path: str
    what: str
    body: bytes = b""
    content_type: str = "application/json"
    accept: str = "application/json"
    idle_seconds: float = 0.0


def request_headers(request: Request, token: str) -> dict[str, str]:
    """The headers beside those that the protocol itself asks for."""
    headers = {"Accept": request.accept, "User-Agent": "geneveil"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if request.body:
        headers["Content-Type"] = request.content_type
    return headers


def read_request(kind: Kind, name: str, namespace: str = "") -> Request:
    """Get one object."""
    return Request("GET", _path(kind, namespace, name), f"get {kind.plural}/{name}")


def list_request(selection: Selection, after: str = "") -> Request:
    """Get a page of a list.

    Args:
        after: `metadata.continue` of the page before.
    """
    query = {**_selectors(selection), "limit": str(selection.page)}
    if after:
        query["continue"] = after
    return Request(
        "GET",
        f"{_path(selection.kind, selection.namespace)}?{urlencode(query)}",
        f"list {selection.kind.plural}",
        accept=_accepted(selection, "List"),
    )


def watch_request(selection: Selection, version: str, seconds: int) -> Request:
    """Hear of changes since a version; since now, beginning with what there is, if it is empty."""
    query = {
        **_selectors(selection),
        "watch": "1",
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(seconds),
    }
    if version:
        query["resourceVersion"] = version
    return Request(
        "GET",
        f"{_path(selection.kind, selection.namespace)}?{urlencode(query)}",
        f"watch {selection.kind.plural}",
        accept=_accepted(selection, ""),
        idle_seconds=min(IDLE_WATCH_SECONDS, seconds + REQUEST_SECONDS),
    )


def create_request(kind: Kind, document: Document) -> Request:
    """Make an object."""
    name, namespace = _names(document)
    what = f"create {kind.plural}/{name}"
    return Request("POST", _path(kind, namespace), what, _body(kind, document))


def replace_request(kind: Kind, document: Document, subresource: str = "") -> Request:
    """Replace an object."""
    name, namespace = _names(document)
    path = _path(kind, namespace, name, subresource)
    what = f"replace {_called(kind, name, subresource)}"
    return Request("PUT", path, what, _body(kind, document))


def apply_request(kind: Kind, document: Document, manager: str, subresource: str = "") -> Request:
    """Server-side apply."""
    name, namespace = _names(document)
    query = urlencode({"fieldManager": manager, "force": "true"})
    path = f"{_path(kind, namespace, name, subresource)}?{query}"
    what = f"apply {_called(kind, name, subresource)}"
    request = Request("PATCH", path, what, _body(kind, document))
    return replace(request, content_type="application/apply-patch+yaml")


def patch_request(
    kind: Kind, name: str, change: Document, namespace: str = "", subresource: str = ""
) -> Request:
    """Merge patch."""
    path = _path(kind, namespace, name, subresource)
    what = f"patch {_called(kind, name, subresource)}"
    request = Request("PATCH", path, what, json.dumps(change).encode())
    return replace(request, content_type="application/merge-patch+json")


def delete_request(
    kind: Kind, name: str, namespace: str = "", uid: str = "", version: str = ""
) -> Request:
    """Delete an object, if it is still the one that is meant."""
    conditions = {"uid": uid, "resourceVersion": version}
    preconditions = {key: value for key, value in conditions.items() if value}
    options: Document = {"apiVersion": "v1", "kind": "DeleteOptions"}
    if preconditions:
        options["preconditions"] = preconditions
    what = f"delete {kind.plural}/{name}"
    return Request("DELETE", _path(kind, namespace, name), what, json.dumps(options).encode())


def parse_answer(body: bytes, what: str) -> Document:
    """The JSON object of an answer.

    Raises:
        ApiUnavailableError: it is none.
    """
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ApiUnavailableError(f"{what}: the answer is no JSON object")
    return document


def parse_event(line: bytes, what: str) -> WatchEvent:
    """A line of a watch.

    Raises:
        ApiUnavailableError: it makes no sense.
        GeneveilError: the server tells an error, see `explain_status`.
    """
    event = parse_answer(line, what)
    document, change = event.get("object"), event.get("type")
    if not isinstance(document, dict):
        raise ApiUnavailableError(f"{what}: an event without an object")
    if change == "ERROR":
        status = document.get("code")
        code = status if isinstance(status, int) else 500
        raise explain_status(code, json.dumps(document).encode(), "", what)
    try:
        return WatchEvent(Change(change), document, str(document["metadata"]["resourceVersion"]))
    except (ValueError, KeyError, TypeError):
        raise ApiUnavailableError(f"{what}: an event of an unknown shape") from None


def _accepted(selection: Selection, of: str) -> str:
    return _METADATA.format(list=of) if selection.is_metadata_only else "application/json"


def _path(kind: Kind, namespace: str = "", name: str = "", subresource: str = "") -> str:
    parts = ["apis", kind.group, kind.version] if kind.group else ["api", kind.version]
    if kind.is_namespaced:
        if not namespace:
            raise ValueError(f"{kind.plural} are in namespaces")
        parts += ["namespaces", namespace]
    parts += [kind.plural, name, subresource]
    return "/" + "/".join(quote(part, safe="") for part in parts if part)


def _called(kind: Kind, name: str, subresource: str) -> str:
    return f"{kind.plural}/{name}" + (f"/{subresource}" if subresource else "")


def _names(document: Document) -> tuple[str, str]:
    metadata = document["metadata"]
    return str(metadata["name"]), str(metadata.get("namespace", ""))


def _body(kind: Kind, document: Document) -> bytes:
    return json.dumps({"apiVersion": kind.api_version, "kind": kind.name, **document}).encode()


def _selectors(selection: Selection) -> dict[str, str]:
    both = {"labelSelector": selection.labels, "fieldSelector": selection.fields}
    return {name: value for name, value in both.items() if value}
