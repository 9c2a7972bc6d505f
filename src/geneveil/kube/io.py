"""The client of a Kubernetes API server.

Nothing is retried here but a request whose token was not accepted, once, with the token read
again: whoever asks knows what a lost answer means.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from geneveil.kube.access import POD_FOLDER, KubeAccess, parse_kubeconfig, pod_access
from geneveil.kube.connection.io import REQUEST_SECONDS, Request, Rest
from geneveil.kube.errors import (
    ApiUnavailableError,
    GoneError,
    MissingError,
    explain_status,
)
from geneveil.kube.port import Change, Document, Kind, Listing, Selection, WatchEvent
from geneveil.model.errors import ConfigError

IDLE_WATCH_SECONDS = 100.0
"""A server that sends bookmarks is silent for about a minute at most."""

_METADATA = "application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1"
_LIST_ATTEMPTS = 3


class KubeClient:
    """`geneveil.kube.port.KubePort` over HTTPS; safe for several threads."""

    def __init__(self, access: KubeAccess, idle_seconds: float = REQUEST_SECONDS) -> None:
        self.access = access
        self._rest = Rest(access, idle_seconds)

    def read(self, kind: Kind, name: str, namespace: str = "") -> Document:
        what = f"get {kind.plural}/{name}"
        return self._send(Request("GET", _path(kind, namespace, name), what))

    def find(self, kind: Kind, name: str, namespace: str = "") -> Document | None:
        try:
            return self.read(kind, name, namespace)
        except MissingError:
            return None

    def list_all(self, selection: Selection) -> Listing:
        for _ in range(_LIST_ATTEMPTS - 1):
            try:
                return self._list(selection)
            except GoneError:
                continue  # a page was asked for too late; a list is whole or none
        return self._list(selection)

    def watch(self, selection: Selection, version: str, seconds: int = 300) -> Iterator[WatchEvent]:
        query = {
            **_selectors(selection),
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        if version:
            query["resourceVersion"] = version
        request = Request(
            "GET",
            f"{_path(selection.kind, selection.namespace)}?{urlencode(query)}",
            f"watch {selection.kind.plural}",
            accept=_METADATA.format(list="") if selection.is_metadata_only else "application/json",
            idle_seconds=min(IDLE_WATCH_SECONDS, seconds + REQUEST_SECONDS),
        )
        for line in self._rest.stream(request):
            event = _event(line, request.what)
            if event.change is not Change.BOOKMARK:
                (document,) = _trimmed(selection, [event.document])
                event = replace(event, document=document)
            yield event

    def create(self, kind: Kind, document: Document) -> Document:
        name, namespace = _names(document)
        what = f"create {kind.plural}/{name}"
        return self._send(Request("POST", _path(kind, namespace), what, _body(kind, document)))

    def replace(self, kind: Kind, document: Document, subresource: str = "") -> Document:
        name, namespace = _names(document)
        path = _path(kind, namespace, name, subresource)
        what = f"replace {_called(kind, name, subresource)}"
        return self._send(Request("PUT", path, what, _body(kind, document)))

    def apply(
        self, kind: Kind, document: Document, manager: str, subresource: str = ""
    ) -> Document:
        name, namespace = _names(document)
        query = urlencode({"fieldManager": manager, "force": "true"})
        path = f"{_path(kind, namespace, name, subresource)}?{query}"
        what = f"apply {_called(kind, name, subresource)}"
        request = Request("PATCH", path, what, _body(kind, document))
        return self._send(replace(request, content_type="application/apply-patch+yaml"))

    def patch(
        self, kind: Kind, name: str, change: Document, namespace: str = "", subresource: str = ""
    ) -> Document:
        path = _path(kind, namespace, name, subresource)
        what = f"patch {_called(kind, name, subresource)}"
        request = Request("PATCH", path, what, json.dumps(change).encode())
        return self._send(replace(request, content_type="application/merge-patch+json"))

    def delete(
        self, kind: Kind, name: str, namespace: str = "", uid: str = "", version: str = ""
    ) -> None:
        conditions = {"uid": uid, "resourceVersion": version}
        preconditions = {key: value for key, value in conditions.items() if value}
        options: Document = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if preconditions:
            options["preconditions"] = preconditions
        what = f"delete {kind.plural}/{name}"
        path = _path(kind, namespace, name)
        self._send(Request("DELETE", path, what, json.dumps(options).encode()))

    def close(self) -> None:
        self._rest.close()

    def _list(self, selection: Selection) -> Listing:
        items: list[Document] = []
        query = {**_selectors(selection), "limit": str(selection.page)}
        accept = _METADATA.format(list="List")
        while True:
            request = Request(
                "GET",
                f"{_path(selection.kind, selection.namespace)}?{urlencode(query)}",
                f"list {selection.kind.plural}",
                accept=accept if selection.is_metadata_only else "application/json",
            )
            page = self._send(request)
            items += _trimmed(selection, page.get("items") or [])
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return Listing(tuple(items), str(metadata.get("resourceVersion", "")))
            query["continue"] = metadata["continue"]

    def _send(self, request: Request) -> Document:
        return _parse(self._rest.send(request), request.what)


def open_client(
    kubeconfig: Path | None = None, pod_folder: str = POD_FOLDER, context: str = ""
) -> KubeClient:
    """A client from `kubeconfig`, else from a Pod's files.

    Raises:
        ConfigError: neither is there, or it can't be used; names the file and what is wrong.
    """
    return KubeClient(read_access(kubeconfig, pod_folder, context))


def read_access(
    kubeconfig: Path | None = None, pod_folder: str = POD_FOLDER, context: str = ""
) -> KubeAccess:
    """Where the API server is and who we are.

    Raises:
        ConfigError: names the file and what is wrong with it.
    """
    if kubeconfig is not None:
        import yaml  # an agent in a Pod has no use for it, and little memory

        try:
            document = yaml.safe_load(_text(kubeconfig))
        except yaml.YAMLError as error:
            why = str(error).splitlines()[0]
            raise ConfigError(f"{kubeconfig} is not YAML", why=why) from None
        return parse_kubeconfig(document, str(kubeconfig), context)
    is_pod = "KUBERNETES_SERVICE_HOST" in os.environ
    namespace = _text(Path(pod_folder) / "namespace") if is_pod else ""
    return pod_access(os.environ, namespace, pod_folder)


def _text(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{path} can't be read", why=why) from None


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


def _trimmed(selection: Selection, items: list[Document]) -> list[Document]:
    return items if selection.trim is None else [selection.trim(one) for one in items]


def _parse(body: bytes, what: str) -> Document:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ApiUnavailableError(f"{what}: the answer is no JSON object")
    return document


def _event(line: bytes, what: str) -> WatchEvent:
    event = _parse(line, what)
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
