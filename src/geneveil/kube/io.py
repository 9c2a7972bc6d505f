"""The client of a Kubernetes API server.

Nothing is retried here but a request whose token was not accepted, once, with the token read
again: whoever asks knows what a lost answer means.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from geneveil.kube.access import POD_FOLDER, KubeAccess, parse_kubeconfig, pod_access
from geneveil.kube.connection.io import Rest
from geneveil.kube.errors import GoneError, MissingError
from geneveil.kube.port import Change, Document, Kind, Listing, Selection, WatchEvent
from geneveil.kube.request import (
    REQUEST_SECONDS,
    Request,
    apply_request,
    create_request,
    delete_request,
    list_request,
    parse_answer,
    parse_event,
    patch_request,
    read_request,
    replace_request,
    watch_request,
)
from geneveil.kube.server_clock import ServerClock
from geneveil.model.errors import ConfigError

_LIST_ATTEMPTS = 3


class KubeClient:
    """`geneveil.kube.port.KubePort` over HTTPS; safe for several threads.

    Args:
        clock: the server's, where several clients of one server share it.
    """

    def __init__(
        self,
        access: KubeAccess,
        idle_seconds: float = REQUEST_SECONDS,
        clock: ServerClock | None = None,
    ) -> None:
        self.access = access
        self._clock = clock or ServerClock()
        self._rest = Rest(access, idle_seconds, self._clock)

    def server_now(self, own: datetime) -> datetime:
        """The server's time while ours is `own`, by its last answer; ours if there was none.

        For the age of what the server stamped, and for stamps that are compared with its own.
        """
        return own + self._clock.ahead_of(own, time.monotonic())

    def read(self, kind: Kind, name: str, namespace: str = "") -> Document:
        return self._send(read_request(kind, name, namespace))

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
        request = watch_request(selection, version, seconds)
        for line in self._rest.stream(request):
            event = parse_event(line, request.what)
            if event.change is not Change.BOOKMARK:
                (document,) = _trimmed(selection, [event.document])
                event = replace(event, document=document)
            yield event

    def create(self, kind: Kind, document: Document) -> Document:
        return self._send(create_request(kind, document))

    def replace(self, kind: Kind, document: Document, subresource: str = "") -> Document:
        return self._send(replace_request(kind, document, subresource))

    def apply(
        self, kind: Kind, document: Document, manager: str, subresource: str = ""
    ) -> Document:
        return self._send(apply_request(kind, document, manager, subresource))

    def patch(
        self, kind: Kind, name: str, change: Document, namespace: str = "", subresource: str = ""
    ) -> Document:
        return self._send(patch_request(kind, name, change, namespace, subresource))

    def delete(
        self, kind: Kind, name: str, namespace: str = "", uid: str = "", version: str = ""
    ) -> None:
        self._send(delete_request(kind, name, namespace, uid, version))

    def close(self) -> None:
        self._rest.close()

    def _list(self, selection: Selection) -> Listing:
        items: list[Document] = []
        after = ""
        while True:
            page = self._send(list_request(selection, after))
            items += _trimmed(selection, page.get("items") or [])
            metadata = page.get("metadata") or {}
            after = str(metadata.get("continue") or "")
            if not after:
                return Listing(tuple(items), str(metadata.get("resourceVersion", "")))

    def _send(self, request: Request) -> Document:
        return parse_answer(self._rest.send(request), request.what)


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
            document = yaml.safe_load(_text(kubeconfig, "set KUBECONFIG, or give --kubeconfig"))
        except yaml.YAMLError as error:
            why = str(error).splitlines()[0]
            raise ConfigError(f"{kubeconfig} is not YAML", why=why) from None
        return parse_kubeconfig(document, str(kubeconfig), context)
    is_pod = "KUBERNETES_SERVICE_HOST" in os.environ
    namespace = _text(Path(pod_folder) / "namespace") if is_pod else ""
    return pod_access(os.environ, namespace, pod_folder)


def _text(path: Path, remedy: str = "") -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{path} can't be read", why=why, remedy=remedy) from None


def _trimmed(selection: Selection, items: list[Document]) -> list[Document]:
    return items if selection.trim is None else [selection.trim(one) for one in items]
