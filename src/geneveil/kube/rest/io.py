"""The Kubernetes API over HTTPS with the standard library alone.

One short connection a call, one long one a watch. Token and CA file are read for each connection,
so that whoever replaces them need not tell us. No proxy of the environment is used: the API server
is inside the cluster.

Why no client library here: docs/decisions/0011-lean-kubernetes-client.md.
"""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from geneveil import __version__
from geneveil.kube.rest.port import AccessError, ApiServer, Document, Event
from geneveil.kube.rest.wire import explain_status, parse_event, parse_object
from geneveil.model.errors import ConfigError, OperatorUnreachableError, TrustError

TIMEOUT_SECONDS = 15.0
QUIET_SECONDS = 90.0
"""A watch brings a bookmark about every minute: one that is silent for longer is dead."""

MAX_ANSWER_BYTES = 8 * 1024 * 1024
_MAX_CHUNK_BYTES = 65536
_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_HTTPS_PORT = 443


class RestClient:
    """One API server, as one Pod. Calls may come from several threads.

    Raises:
        ConfigError: the URL is none.
    """

    def __init__(self, server: ApiServer, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(server.url)
        try:
            port = parts.port or _HTTPS_PORT
        except ValueError:
            port = 0
        if parts.scheme != "https" or not parts.hostname or not port or parts.path.strip("/"):
            raise ConfigError(
                f"{server.url!r} is no URL of an API server", remedy="write https://host:6443"
            )
        self._server = server
        self._host, self._port = parts.hostname, port
        self._timeout_seconds = timeout_seconds

    def get(self, path: str) -> Document:
        """One object, such as `/api/v1/nodes/NAME`.

        Raises:
            AbsentError: there is none.
            OperatorUnreachableError, AccessError, GeneveilError: see `explain_status`.
        """
        return self._call("GET", path, None, _JSON)

    def create(self, path: str, document: Document) -> Document:
        """Make an object in the collection `path`; ConflictError if its name is taken."""
        return self._call("POST", path, document, _JSON)

    def apply(self, path: str, document: Document, manager: str) -> Document:
        """Server-side apply: these fields are ours and have these values; no others are touched.

        Fields that this manager applied before and that are missing now are removed.
        """
        query = urlencode({"fieldManager": manager, "force": "true"})
        return self._call("PATCH", f"{path}?{query}", document, _APPLY)

    def watch(self, path: str, name: str, version: str, seconds: int) -> Iterator[Event]:
        """What becomes of one object of a collection, from a version on, until the server ends it.

        Args:
            seconds: after which the server ends it.
        Raises:
            GoneError: the version is too old: read the object anew.
            OperatorUnreachableError: the connection broke, or was silent for `QUIET_SECONDS`.
        """
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        }
        if version:
            query["resourceVersion"] = version
        doing = f"watch {path} {name}"
        try:
            with closing(self._connect()) as connection:
                link = connection.sock  # a response that ends with its connection takes it away
                connection.request("GET", f"{path}?{urlencode(query)}", headers=self._headers())
                response = connection.getresponse()
                if response.status != http.client.OK:
                    deadline = time.monotonic() + self._timeout_seconds
                    body = _read_bounded(response, deadline)
                    raise explain_status(response.status, body, doing, _retry_after(response))
                link.settimeout(QUIET_SECONDS)
                while line := response.readline(MAX_ANSWER_BYTES):
                    yield parse_event(line, doing)
        except ssl.SSLCertVerificationError as error:
            raise self._not_trusted(error) from None
        except (OSError, ValueError, http.client.HTTPException, RecursionError) as error:
            raise self._silent(error) from None

    def _call(self, method: str, path: str, document: Document | None, kind: str) -> Document:
        body = None if document is None else json.dumps(document).encode()
        deadline = time.monotonic() + self._timeout_seconds
        headers = self._headers() | {"Connection": "close"}
        if body is not None:
            headers["Content-Type"] = kind
        try:
            with closing(self._connect()) as connection:
                connection.request(method, path, body=body, headers=headers)
                response = connection.getresponse()
                data = _read_bounded(response, deadline)
                if response.status in (http.client.OK, http.client.CREATED):
                    return parse_object(data)
                doing = f"{_VERBS[method]} {path.partition('?')[0]}"
                raise explain_status(response.status, data, doing, _retry_after(response))
        except ssl.SSLCertVerificationError as error:
            raise self._not_trusted(error) from None
        except (OSError, ValueError, http.client.HTTPException, RecursionError) as error:
            raise self._silent(error) from None

    def _headers(self) -> dict[str, str]:
        try:
            token = self._server.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AccessError(
                f"cannot read the token {self._server.token_file}",
                why=_reason_text(error),
                remedy="it is put there by the kubelet (a projected serviceAccountToken volume)",
            ) from None
        return {
            "Authorization": f"Bearer {token}",
            "Accept": _JSON,
            "User-Agent": f"geneveil-agent/{__version__}",
        }

    def _connect(self) -> http.client.HTTPSConnection:
        try:
            context = ssl.create_default_context(cafile=str(self._server.ca_file))
        except (OSError, ValueError) as error:
            raise TrustError(
                f"cannot use {self._server.ca_file} to know the API server by",
                why=_reason_text(error),
                remedy="it is the cluster's ca.crt",
            ) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        connection = http.client.HTTPSConnection(
            self._host, self._port, timeout=self._timeout_seconds, context=context
        )
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection

    def _silent(self, error: Exception) -> OperatorUnreachableError:
        return OperatorUnreachableError(
            f"the API server at {self._server.url} does not answer", why=_reason_text(error)
        )

    def _not_trusted(self, error: ssl.SSLCertVerificationError) -> TrustError:
        return TrustError(
            f"the certificate of the API server at {self._server.url} is not to be believed",
            why=str(error.verify_message or error),
            remedy=f"check the URL, {self._server.ca_file} and this machine's clock",
        )


_VERBS: Mapping[str, str] = {"GET": "get", "POST": "create in", "PATCH": "apply to"}


def quoted(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")


def _read_bounded(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """Read at most `MAX_ANSWER_BYTES`, before the deadline; a drip of bytes does not hold us."""
    body = bytearray()
    while chunk := response.read1(_MAX_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException("the answer is too long")
        if time.monotonic() > deadline:
            raise TimeoutError("the answer takes too long")
    return bytes(body)


def _retry_after(response: http.client.HTTPResponse) -> float:
    text = response.getheader("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0


def _reason_text(error: Any) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
