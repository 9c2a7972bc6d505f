"""What an installation asks of an API server."""

from collections.abc import Mapping
from typing import Any, Protocol

from geneveil.model.errors import DaemonError


class NotServedError(DaemonError):
    """The API server does not know the object's kind or namespace."""


class ClusterPort(Protocol):
    """An API server, as its administrator. Documents are the API's JSON."""

    def read(self, document: Mapping[str, Any]) -> dict[str, Any] | None:
        """The object of this kind and name as it is, or None if there is none.

        Raises:
            DaemonError: the API server is away or said something else.
        """

    def apply(self, document: Mapping[str, Any], *, dry_run: bool, force: bool) -> dict[str, Any]:
        """Apply server-side, and return what came of it.

        Args:
            force: take fields over that another applier owns.
        Raises:
            RefusedError: the API server, a schema or a policy refuses it; has its words.
            NotServedError: its kind or namespace is not there.
            DaemonError: the API server is away.
        """

    def wait_for_definition(self, name: str) -> None:
        """Wait until a CustomResourceDefinition is served.

        Raises:
            DaemonError: it is not, after half a minute.
        """
