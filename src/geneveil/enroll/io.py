"""The HTTPS client of a node: TLS 1.3, one short connection a call; a watch keeps its connection.

Who is believed: the first answer of an operator is fetched without verification, and from it only
the authority whose key the token pins is kept; every later byte comes over a connection that
verifies against that authority alone, or against the trust bundle that such a connection brought.
The operator is known by `OPERATOR_IDENTITY` in its certificate, whatever address or name it was
reached at: no node can be given that name, so a node's certificate can't pose as the operator.

A node proves itself with its certificate (mutual TLS). Its key goes to the TLS library through an
anonymous file in memory: the library reads files only, and a second copy on a disk must not be.

No proxy of the environment is used: cluster traffic does not leave the cluster.
"""

import hashlib
import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from geneveil.enroll import watch_wire, wire
from geneveil.enroll.pin import find_pinned
from geneveil.enroll.port import (
    Bootstrap,
    Enrolment,
    JoinToken,
    NodeCredential,
    Renewal,
    WatchAnswer,
    WatchState,
)
from geneveil.model.errors import (
    ConfigError,
    GeneveilError,
    OperatorUnreachableError,
    RefusedError,
    TrustError,
)
from geneveil.model.names import OPERATOR_IDENTITY
from geneveil.model.shortage import remedy_for

DEFAULT_PORT = 9443
TIMEOUT_SECONDS = 15.0
HOLD_SECONDS = 60.0
"""How long an operator holds a watch at most."""

MAX_CHUNK_BYTES = 65536
MAX_RETRY_AFTER_SECONDS = 600.0
_ALERTS = {
    "TLSV1_ALERT_UNKNOWN_CA": "client-certificate-unknown",
    "SSLV3_ALERT_BAD_CERTIFICATE": "client-certificate-unknown",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "client-certificate-unknown",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "client-certificate-unknown",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "certificate-expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "certificate-revoked",
}
_PROVED_PATHS = (wire.RENEW_PATH, wire.WATCH_PATH)
_CUT_REMEDY = (
    "if it answers others, it does not know the authority of this node's certificate: was it "
    "restored from an old backup? Then the node needs a new token"
)
_NOT_OURS = "it does not answer as a geneveil operator does"
_TRY_AGAIN = (http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class _Call:
    """One request.

    Attributes:
        document: the body; None for a GET.
        timeout_seconds: from connecting to the last byte.
    """

    path: str
    document: dict[str, Any] | None
    timeout_seconds: float

    @property
    def body(self) -> bytes | None:
        return None if self.document is None else json.dumps(self.document).encode()


class EnrolmentClient:
    """An operator at a URL; implements `EnrolmentPort`.

    Calls may come from several threads; `watch` from one at a time.

    Args:
        url: `https://host:port`.
        timeout_seconds: for one whole call, from resolving the name to the last byte; resolving
            itself is bounded by the machine's resolver. A watch may take `HOLD_SECONDS` longer.

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
        self._watching: _Connection | None = None
        self._watching_as = b""

    def fetch_bootstrap(self, ca_pin: bytes) -> Bootstrap:
        """See `EnrolmentPort.fetch_bootstrap`. Fails closed: yes."""
        call = _Call(wire.BOOTSTRAP_PATH, None, self._timeout_seconds)
        unproved = self._read(wire.parse_bootstrap, call, _unverified())
        pinned_pem = find_pinned(unproved.trust_bundle_pem, ca_pin)
        if pinned_pem is None:
            raise TrustError(
                f"{self.url} is not the operator that the join token names",
                why="it offers no certificate authority whose key has the token's fingerprint",
                remedy="check the URL, and that the token is newer than the authority's last "
                "roll-over; if both are right, someone may be posing as the operator",
            )
        bootstrap = self._read(wire.parse_bootstrap, call, verified_context(pinned_pem))
        if find_pinned(bootstrap.trust_bundle_pem, ca_pin) is None:
            raise TrustError(f"the trust bundle of {self.url} lacks the authority of the token")
        return bootstrap

    def enrol(self, token: JoinToken, csr_pem: bytes, trust_bundle_pem: bytes) -> Enrolment:
        """See `EnrolmentPort.enrol`. Fails closed: yes."""
        document = wire.enrol_request_document(token, csr_pem)
        call = _Call(wire.ENROL_PATH, document, self._timeout_seconds)
        return self._read(wire.parse_enrolment, call, verified_context(trust_bundle_pem))

    def renew(self, csr_pem: bytes, identity: NodeCredential, trust_bundle_pem: bytes) -> Renewal:
        """See `EnrolmentPort.renew`. Fails closed: yes."""
        document = watch_wire.renew_request_document(csr_pem)
        call = _Call(wire.RENEW_PATH, document, self._timeout_seconds)
        return self._read(watch_wire.parse_renewal, call, node_context(trust_bundle_pem, identity))

    def watch(
        self, state: WatchState, identity: NodeCredential, trust_bundle_pem: bytes
    ) -> WatchAnswer:
        """See `EnrolmentPort.watch`. Fails closed: yes."""
        document = watch_wire.watch_request_document(state)
        call = _Call(wire.WATCH_PATH, document, HOLD_SECONDS + self._timeout_seconds)
        parts = (trust_bundle_pem, identity.certificate_pem, identity.key_pem)
        seen_as = b"".join(hashlib.sha256(part).digest() for part in parts)
        is_kept = self._watching is not None and self._watching_as == seen_as
        if not is_kept:
            self.close()
            self._watching = self._connection(call, node_context(trust_bundle_pem, identity))
            self._watching_as = seen_as
        try:
            return self._parsed(watch_wire.parse_watch_answer, *self._watch_once(call, is_kept))
        except GeneveilError:
            self.close()
            raise

    def close(self) -> None:
        """See `EnrolmentPort.close`."""
        connection, self._watching = self._watching, None
        if connection is not None:
            connection.interrupt()

    def _watch_once(self, call: _Call, is_kept: bool) -> tuple[int, bytes, float]:
        connection = self._watching
        if connection is None:
            raise self._silent(ConnectionAbortedError("the watch was closed"))
        try:
            return self._exchange(connection, call, keep=True)
        except OperatorUnreachableError:
            # an operator that was started anew knows nothing of the connection; once is enough
            if not is_kept or self._watching is None:
                raise
            connection.close()
            return self._exchange(connection, call, keep=True)

    def _connection(self, call: _Call, context: ssl.SSLContext) -> "_Connection":
        return _Connection(self._host, self._port, context, call.timeout_seconds)

    def _read(
        self, parse: Callable[[object], _Answer], call: _Call, context: ssl.SSLContext
    ) -> _Answer:
        connection = self._connection(call, context)
        try:
            return self._parsed(parse, *self._exchange(connection, call, keep=False))
        finally:
            connection.close()

    def _parsed(
        self, parse: Callable[[object], _Answer], status: int, body: bytes, retry_after: float
    ) -> _Answer:
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
            raise OperatorUnreachableError(
                f"{self.url} can't answer now", why=message, retry_after_seconds=retry_after
            )
        raise RefusedError(reason, f"the operator refused ({reason})", why=message)

    def _exchange(
        self, connection: "_Connection", call: _Call, keep: bool
    ) -> tuple[int, bytes, float]:
        headers = {"Accept": "application/json"}
        if not keep:
            headers["Connection"] = "close"
        body = call.body
        if body is not None:
            headers["Content-Type"] = "application/json"
        deadline = time.monotonic() + call.timeout_seconds
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, call.path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, _read_bounded(response, deadline), _retry_after(response)
        except ssl.SSLCertVerificationError as error:
            raise self._not_trusted(error) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            # ValueError: the socket was closed by `close` while it was being read
            # before the handshake ended anybody could have said it
            if connection.sock is not None and (reason := _alert_of(error)):
                raise RefusedError(
                    reason, f"the operator refused ({reason})", why=_reason_text(error)
                ) from None
            is_cut = isinstance(error, ConnectionError) and call.path in _PROVED_PATHS
            raise self._silent(error, _CUT_REMEDY if is_cut else "") from None

    def _silent(self, error: Exception, remedy: str = "") -> OperatorUnreachableError:
        what = f"the operator at {self.url} does not answer"
        return OperatorUnreachableError(what, why=_reason_text(error), remedy=remedy)

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

    def interrupt(self) -> None:
        """Wake whoever waits for an answer in another thread, then close."""
        try:
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was closed in between, which is what was wanted
        self.close()


def node_context(trust_bundle_pem: bytes, identity: NodeCredential) -> ssl.SSLContext:
    """The same as `verified_context`, with this node's proof of who it is.

    Raises:
        TrustError: the bundle, or key and certificate of the node, can't be used.
        OperatorUnreachableError: the machine lacks files or memory for it; try again.
    """
    context = verified_context(trust_bundle_pem)
    data = identity.key_pem.rstrip() + b"\n" + identity.certificate_pem
    try:
        descriptor = os.memfd_create("credential", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(data)
            context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_passphrase)
        finally:
            os.close(descriptor)
    except (ssl.SSLError, ValueError):
        raise TrustError(
            "this node's key and certificate can't be used to reach the operator",
            why="one of them can't be read, or they do not belong together",
        ) from None
    except OSError as error:  # the machine lacks something: nothing is said about the key
        raise OperatorUnreachableError(
            "the operator can't be asked now",
            why=error.strerror or str(error),
            remedy=remedy_for(error, "the agent goes on trying"),
        ) from None
    return context


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
    """Read at most `MAX_ANSWER_BYTES`, before the deadline; a drip of bytes does not hold us."""
    body = bytearray()
    while chunk := response.read1(MAX_CHUNK_BYTES):
        body += chunk
        if len(body) > wire.MAX_ANSWER_BYTES:
            raise http.client.HTTPException("the answer is too long")
        if time.monotonic() > deadline:
            raise TimeoutError("the answer takes too long")
    return bytes(body)


def _retry_after(response: http.client.HTTPResponse) -> float:
    """Seconds that the operator asks us to wait; a nonsensical wish counts for none."""
    text = response.getheader("Retry-After", "")
    return min(float(text), MAX_RETRY_AFTER_SECONDS) if text.isdecimal() else 0.0


def _alert_of(error: Exception) -> str:
    """The reason word for a TLS alert that our certificate met; else empty."""
    return _ALERTS.get(error.reason or "", "") if isinstance(error, ssl.SSLError) else ""


def _no_passphrase() -> str:
    """Asked for an encrypted key, the TLS library would else ask a person at the terminal."""
    return ""


def _reason_text(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
