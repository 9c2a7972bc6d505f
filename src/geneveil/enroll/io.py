"""The HTTPS client of a node: TLS 1.3, one short connection a call.

Who is believed: the first answer of an operator is fetched without verification, and from it only
the authority whose key the token pins is kept; every later byte comes over a connection that
verifies against that authority alone, or against the trust bundle that such a connection brought.
The operator is known by `OPERATOR_IDENTITY` in its certificate, whatever address or name it was
reached at: no node can be given that name, so a node's certificate can't pose as the operator.

No proxy of the environment is used: cluster traffic does not leave the cluster.
"""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from geneveil.enroll import wire
from geneveil.enroll.pin import find_pinned
from geneveil.enroll.port import Bootstrap, Enrolment, JoinToken
from geneveil.model.errors import (
    ConfigError,
    GeneveilError,
    OperatorUnreachableError,
    RefusedError,
    TrustError,
)
from geneveil.model.names import OPERATOR_IDENTITY

DEFAULT_PORT = 9443
TIMEOUT_SECONDS = 15.0
MAX_CHUNK_BYTES = 4096
_NOT_OURS = "it does not answer as a geneveil operator does"
_TRY_AGAIN = (http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS)
_Answer = TypeVar("_Answer")


class EnrolmentClient:
    """An operator at a URL; implements `EnrolmentPort`.

    Args:
        url: `https://host:port`.
        timeout_seconds: for one whole call, from resolving the name to the last byte; resolving
            itself is bounded by the machine's resolver.

    Raises:
        ConfigError: the URL is none.
    """

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(url) if wire.is_operator_url(url) else None
        try:
            port = (parts.port or DEFAULT_PORT) if parts else 0
        except ValueError:
            port = 0
        if parts is None or not parts.hostname or not port:
            raise ConfigError(f"{url!r} is no operator's URL", remedy="write https://host:9443")
        self.url = url.rstrip("/")
        self._host = parts.hostname
        self._port = port
        self._timeout_seconds = timeout_seconds

    def fetch_bootstrap(self, ca_pin: bytes) -> Bootstrap:
        """See `EnrolmentPort.fetch_bootstrap`. Fails closed: yes."""
        unproved = self._read(wire.parse_bootstrap, "GET", wire.BOOTSTRAP_PATH, _unverified())
        pinned_pem = find_pinned(unproved.trust_bundle_pem, ca_pin)
        if pinned_pem is None:
            raise TrustError(
                f"{self.url} is not the operator that the join token names",
                why="it offers no certificate authority whose key has the token's fingerprint",
                remedy="check the URL; if it is right, someone may be posing as the operator",
            )
        context = verified_context(pinned_pem)
        bootstrap = self._read(wire.parse_bootstrap, "GET", wire.BOOTSTRAP_PATH, context)
        if find_pinned(bootstrap.trust_bundle_pem, ca_pin) is None:
            raise TrustError(f"the trust bundle of {self.url} lacks the authority of the token")
        return bootstrap

    def enrol(self, token: JoinToken, csr_pem: bytes, trust_bundle_pem: bytes) -> Enrolment:
        """See `EnrolmentPort.enrol`. Fails closed: yes."""
        return self._read(
            wire.parse_enrolment,
            "POST",
            wire.ENROL_PATH,
            verified_context(trust_bundle_pem),
            wire.enrol_request_document(token, csr_pem),
        )

    def _read(
        self,
        parse: Callable[[object], _Answer],
        method: str,
        path: str,
        context: ssl.SSLContext,
        document: dict[str, Any] | None = None,
    ) -> _Answer:
        status, body = self._exchange(method, path, context, document)
        try:
            answer = json.loads(body)
            if status == http.client.OK:
                return parse(answer)
            reason, message = wire.parse_refusal(answer)
        except (ValueError, RecursionError) as error:
            why = f"{_NOT_OURS} (status {status}: {error})"
            raise OperatorUnreachableError(
                f"no sense in the answer of {self.url}", why=why
            ) from None
        if status >= http.client.INTERNAL_SERVER_ERROR or status in _TRY_AGAIN:
            raise OperatorUnreachableError(f"{self.url} can't answer now", why=message)
        raise RefusedError(reason, f"the operator refused ({reason})", why=message)

    def _exchange(
        self, method: str, path: str, context: ssl.SSLContext, document: dict[str, Any] | None
    ) -> tuple[int, bytes]:
        body = None if document is None else json.dumps(document).encode()
        headers = {"Accept": "application/json", "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = _Connection(self._host, self._port, context, self._timeout_seconds)
        deadline = time.monotonic() + self._timeout_seconds
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, _read_bounded(response, deadline)
        except ssl.SSLCertVerificationError as error:
            raise self._not_trusted(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise OperatorUnreachableError(
                f"the operator at {self.url} does not answer", why=_reason_text(error)
            ) from None
        finally:
            connection.close()

    def _not_trusted(self, error: ssl.SSLCertVerificationError) -> GeneveilError:
        return TrustError(
            f"the certificate of the operator at {self.url} is not to be believed",
            why=str(error.verify_message or error),
            remedy="check the URL and this machine's clock",
        )


class _Connection(http.client.HTTPSConnection):
    """Verifies the operator's identity, not the name in the URL."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, timeout: float) -> None:
        super().__init__(host, port, context=context, timeout=timeout)
        self._tls = context

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = self._tls.wrap_socket(plain, server_hostname=OPERATOR_IDENTITY)
        except BaseException:
            plain.close()
            raise


def verified_context(trust_bundle_pem: bytes) -> ssl.SSLContext:
    """TLS 1.3 that believes these authorities and no others.

    Raises:
        TrustError: the bundle holds no certificate.
    """
    context = _base_context()
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(cadata=trust_bundle_pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise TrustError("the trust bundle holds no certificate that can be read") from None
    return context


def _unverified() -> ssl.SSLContext:
    """For the one answer from which nothing is kept but what the pin proves."""
    context = _base_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _base_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _read_bounded(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """Read at most `MAX_BODY_BYTES`, before the deadline; a drip of bytes does not hold us."""
    body = b""
    while chunk := response.read1(MAX_CHUNK_BYTES):
        body += chunk
        if len(body) > wire.MAX_BODY_BYTES:
            raise http.client.HTTPException("the answer is too long")
        if time.monotonic() > deadline:
            raise TimeoutError("the answer takes too long")
    return body


def _reason_text(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
