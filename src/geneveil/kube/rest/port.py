"""What the lean client is told, and what it may answer with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from geneveil.model.errors import Culprit, GeneveilError, TrustError

Document = Mapping[str, Any]


@dataclass(frozen=True)
class ApiServer:
    """Where the API is and how a Pod proves who it is.

    Attributes:
        url: `https://host:port`.
        ca_file: the certificates, and the only ones, by which the server is believed (PEM).
        token_file: the bearer token; read again for each request, because it is replaced.
    """

    url: str
    ca_file: Path
    token_file: Path


@dataclass(frozen=True)
class Event:
    """One line of a watch; `kind` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    kind: str
    document: Document


class AbsentError(GeneveilError):
    """404: there is no such object."""

    culprit: ClassVar[Culprit] = Culprit.OPERATOR
    retryable: ClassVar[bool] = True


class ConflictError(GeneveilError):
    """409: there is such an object already, or it has changed meanwhile."""

    culprit: ClassVar[Culprit] = Culprit.OPERATOR
    retryable: ClassVar[bool] = True


class GoneError(GeneveilError):
    """410: the server does not remember so far back; read anew."""

    culprit: ClassVar[Culprit] = Culprit.OPERATOR
    retryable: ClassVar[bool] = True


class InvalidError(GeneveilError):
    """400, 415 or 422: the server understood and will never take this object."""


class AccessError(TrustError):
    """401 or 403: the server does not believe the token, or the token may not do this."""

    retryable: ClassVar[bool] = True
