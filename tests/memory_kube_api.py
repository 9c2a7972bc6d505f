"""An API server's memory, for tests of what is decided over it: versions, preconditions, refusals.

What it offers it does as a real one: see `tests.kube_port_contract`.
"""

import copy
from collections.abc import Iterator

from geneveil.kube.errors import ApiUnavailableError, ConflictError, ExistsError, MissingError
from geneveil.kube.port import Document, Kind, Listing, Selection, WatchEvent


class Memory:
    """Implements `KubePort`, but for watches, patches and field selectors.

    Attributes:
        objects: by plural and name.
        writes: names of what was created, replaced and applied.
        fail_after: how many writes go well.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Document] = {}
        self.writes: list[str] = []
        self.fail_after = 10**9
        self._version = 0

    def read(self, kind: Kind, name: str, namespace: str = "") -> Document:
        found = self.find(kind, name)
        if found is None:
            raise MissingError(name)
        return found

    def find(self, kind: Kind, name: str, namespace: str = "") -> Document | None:
        return copy.deepcopy(self.objects.get((kind.plural, name)))

    def list_all(self, selection: Selection) -> Listing:
        label, _, value = selection.labels.partition("=")
        items = [
            one
            for (plural, _), one in self.objects.items()
            if plural == selection.kind.plural
            and (not label or (one["metadata"].get("labels") or {}).get(label) == value)
        ]
        return Listing(tuple(copy.deepcopy(items)), str(self._version))

    def watch(self, selection: Selection, version: str, seconds: int = 300) -> Iterator[WatchEvent]:
        raise NotImplementedError

    def create(self, kind: Kind, document: Document) -> Document:
        name = document["metadata"]["name"]
        if (kind.plural, name) in self.objects:
            raise ExistsError(name)
        made = copy.deepcopy(document)
        made["metadata"].setdefault("uid", f"uid-of-{kind.plural}-{name}")
        return self._put(kind, made)

    def replace(self, kind: Kind, document: Document, subresource: str = "") -> Document:
        there = self.read(kind, document["metadata"]["name"])
        self._check(there, version=document["metadata"].get("resourceVersion", ""))
        wanted = copy.deepcopy(document)
        wanted["metadata"]["uid"] = there["metadata"]["uid"]
        if subresource == "status":  # the rest stays as it is
            wanted = {**there, "status": wanted.get("status")}
        return self._put(kind, wanted)

    def apply(
        self, kind: Kind, document: Document, manager: str, subresource: str = ""
    ) -> Document:
        there = self.find(kind, document["metadata"]["name"])
        if there is None:
            if subresource:
                raise MissingError(document["metadata"]["name"])
            return self.create(kind, document)
        changed = {name: value for name, value in document.items() if name != "metadata"}
        return self._put(kind, {**there, **copy.deepcopy(changed)})

    def patch(
        self, kind: Kind, name: str, change: Document, namespace: str = "", subresource: str = ""
    ) -> Document:
        raise NotImplementedError

    def delete(
        self, kind: Kind, name: str, namespace: str = "", uid: str = "", version: str = ""
    ) -> None:
        self._check(self.read(kind, name), uid, version)
        del self.objects[kind.plural, name]

    def close(self) -> None:
        return

    def _check(self, there: Document, uid: str = "", version: str = "") -> None:
        metadata = there["metadata"]
        if uid not in ("", metadata["uid"]) or version not in ("", metadata["resourceVersion"]):
            raise ConflictError(metadata["name"])

    def _put(self, kind: Kind, document: Document) -> Document:
        if len(self.writes) >= self.fail_after:
            raise ApiUnavailableError("away")
        self._version += 1
        kept = copy.deepcopy(document)
        kept["metadata"]["resourceVersion"] = str(self._version)
        name = str(kept["metadata"]["name"])
        self.objects[kind.plural, name] = kept
        self.writes.append(name)
        return copy.deepcopy(kept)
