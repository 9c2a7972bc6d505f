"""What geneveil asks of a Kubernetes API server.

Objects are documents: the JSON of the API as dicts, read by the `*_wire` modules. "Could not read"
is an error; None and an empty list mean that the server said so.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

Document = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A resource of the API.

    Attributes:
        group: empty for the core group.
        plural: as in the URL: `configmaps`.
    """

    group: str
    version: str
    name: str
    plural: str
    is_namespaced: bool

    @property
    def api_version(self) -> str:
        """As in a document."""
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True)
class Selection:
    """Which objects are listed or watched.

    Attributes:
        namespace: empty for a cluster-wide kind.
        labels: a label selector, empty for all.
        fields: a field selector, empty for all.
        is_metadata_only: only `metadata` of each object is sent.
        page: how many objects a list asks for at once.
        trim: what is kept of each object, before the next page is asked for.
    """

    kind: Kind
    namespace: str = ""
    labels: str = ""
    fields: str = ""
    is_metadata_only: bool = False
    page: int = 500
    trim: Callable[[Document], Document] | None = None


@dataclass(frozen=True)
class Listing:
    """A complete list, consistent at one version.

    Attributes:
        version: where a watch goes on.
    """

    items: tuple[Document, ...]
    version: str


class Change(Enum):
    """What a watch tells of an object."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"


@dataclass(frozen=True)
class WatchEvent:
    """One line of a watch. A BOOKMARK carries nothing but the version to go on from."""

    change: Change
    document: Document
    version: str


class KubePort(Protocol):
    """An API server, with one identity. Calls block; several threads may call at once.

    All raise:
        ApiUnavailableError: no answer, 429 or 5xx; a write may have been done.
        ApiRefusedError: 401, 403, 422 and the like; nothing was written.
    """

    def read(self, kind: Kind, name: str, namespace: str = "") -> Document:
        """One object.

        Raises:
            MissingError: there is none.
        """

    def find(self, kind: Kind, name: str, namespace: str = "") -> Document | None:
        """One object, or None if the server says that there is none."""

    def list_all(self, selection: Selection) -> Listing:
        """Every object, in pages, as of one version."""

    def watch(self, selection: Selection, version: str, seconds: int = 300) -> Iterator[WatchEvent]:
        """What changes from `version` on, until the server ends it, at most so many seconds.

        Args:
            version: empty to be told first, as ADDED, what is there now.
        Raises:
            GoneError: that version is too old; list again.
        """

    def create(self, kind: Kind, document: Document) -> Document:
        """Make an object.

        Raises:
            ExistsError: there is one of that name.
        """

    def replace(self, kind: Kind, document: Document, subresource: str = "") -> Document:
        """Write a whole object; with `metadata.resourceVersion`, only over that very version.

        Raises:
            ConflictError: it was written since. MissingError: it is gone.
        """

    def apply(
        self, kind: Kind, document: Document, manager: str, subresource: str = ""
    ) -> Document:
        """Server-side apply, forced: the fields of `document` are `manager`'s from now on, those
        that it applied before and that are not in it are dropped.
        """

    def patch(
        self, kind: Kind, name: str, change: Document, namespace: str = "", subresource: str = ""
    ) -> Document:
        """A JSON merge patch (RFC 7396); with `metadata.resourceVersion` in it, a precondition."""

    def delete(
        self, kind: Kind, name: str, namespace: str = "", uid: str = "", version: str = ""
    ) -> None:
        """Delete an object; with `uid` or `version`, only that very one.

        Raises:
            MissingError: there is none. ConflictError: it is another one.
        """

    def close(self) -> None:
        """End every watch and connection; what waits ends with ApiUnavailableError."""


Now = Callable[[], float]
"""Seconds of a clock that nobody moves."""
