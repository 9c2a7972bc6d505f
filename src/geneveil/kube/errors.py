"""What can go wrong between us and an API server, in geneveil's own errors. Pure.

Rule: an answer that says "not now" (429, 5xx, no answer at all) is retryable and an
`OperatorUnreachableError`, so that whoever enrols or watches through Kubernetes treats it as a
silent operator. Of a write that ended so nobody knows whether it was done.

Source: Kubernetes API conventions, "HTTP Status codes"; metav1.Status.
"""

import json

from geneveil.model.errors import (
    Culprit,
    GeneveilError,
    OperatorUnreachableError,
    RefusedError,
)

_MOST_SHOWN = 300
MOST_LATER_SECONDS = 60.0
"""Whoever is asked to come back later comes back by then: what stands before the API server may ask
for hours, and who follows Nodes would be deaf for so long."""


class ApiUnavailableError(OperatorUnreachableError):
    """No answer, or one that says to come back later. A write may or may not have been done."""


class ConflictError(GeneveilError):
    """409: the object is not as it was when it was read. Nothing was written."""

    culprit = Culprit.OPERATOR
    retryable = True


class ExistsError(ConflictError):
    """409 AlreadyExists: somebody made an object of this name before."""


class GoneError(GeneveilError):
    """410: the history that was asked for is gone. List again."""

    culprit = Culprit.OPERATOR
    retryable = True


class MissingError(GeneveilError):
    """404: there is no such object, or no such kind of object."""

    culprit = Culprit.OPERATOR


class ApiRefusedError(RefusedError):
    """The API server understood and said no.

    Attributes:
        status: the HTTP status: 400, 401, 403, 422…
    """

    def __init__(self, status: int, what: str, *, why: str = "", remedy: str = "") -> None:
        self.status = status
        super().__init__(_WORDS.get(status, "api-refused"), what, why=why, remedy=remedy)


_WORDS = {
    400: "api-bad-request",
    401: "api-unauthorized",
    403: "api-forbidden",
    413: "api-too-large",
    422: "api-invalid",
}
_REMEDIES = {
    401: "the token or client certificate was not accepted; is it of this cluster, and still good?",
    403: "the role that geneveil's manifests grant lacks this, or an admission policy refuses it",
}
_LATER = {408, 425, 429, 500, 502, 503, 504}


def explain_status(status: int, body: bytes, retry_after: str, what: str) -> GeneveilError:
    """Turn an answer that is no success into an error.

    Args:
        body: as it came; a `Status` document if the API server itself answered.
        retry_after: the header, in seconds; empty if there was none.
        what: the request, for people: `get configmaps/geneveil-trust`.
    """
    reason, message = _read_status(body)
    why = f"{status} {reason}: {message}" if message else f"status {status}"
    if status in _LATER:
        asked = float(retry_after) if retry_after.isdecimal() else 0.0
        seconds = min(asked, MOST_LATER_SECONDS)
        return ApiUnavailableError(
            f"{what}: the API server is not ready for it", why=why, retry_after_seconds=seconds
        )
    if status == 404:
        return MissingError(f"{what}: not found", why=message)
    if status == 410:
        return GoneError(f"{what}: that history is gone", why=message)
    if status == 409 and reason == "AlreadyExists":
        return ExistsError(f"{what}: it exists already", why=message)
    if status == 409:
        return ConflictError(f"{what}: somebody else wrote it", why=message)
    return ApiRefusedError(
        status, f"{what}: refused by the API server", why=why, remedy=_REMEDIES.get(status, "")
    )


def _read_status(body: bytes) -> tuple[str, str]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("kind") != "Status":
        return "", ascii(body[:_MOST_SHOWN].decode(errors="replace"))[1:-1]
    return str(document.get("reason") or ""), str(document.get("message") or "")[:_MOST_SHOWN]
