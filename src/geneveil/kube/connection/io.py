"""HTTPS to one API server: connections that are kept, a token that is read again, and streams.

A connection serves one request at a time and is kept for the next. One that the server closed
meanwhile is noticed before it is used, so that a write is not lost to a dead connection. A new one
believes what the files say now: clusters change their authority while our processes run.
"""

import http.client
import json
import os
import select
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from geneveil.kube.access import KubeAccess, Material
from geneveil.kube.errors import ApiUnavailableError, explain_status
from geneveil.kube.request import REQUEST_SECONDS, Request, request_headers
from geneveil.kube.server_clock import ServerClock
from geneveil.model.errors import ConfigError, TrustError

TOKEN_AGE_SECONDS = 10.0
"""A token file is read again when what was read is older."""

_MOST_KEPT = 8
_MOST_BODY_BYTES = 256 * 1024 * 1024
_COMMAND_SECONDS = 60


class Rest:
    """Sends requests; safe for several threads.

    Args:
        clock: told of every answer's `Date`.
    """

    def __init__(
        self,
        access: KubeAccess,
        idle_seconds: float = REQUEST_SECONDS,
        clock: ServerClock | None = None,
    ) -> None:
        self._access = access
        self._clock = clock or ServerClock()
        self._idle_seconds = idle_seconds
        parts = urlsplit(access.server)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._prefix = parts.path.rstrip("/")
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPSConnection] = []
        self._busy: set[http.client.HTTPSConnection] = set()
        self._is_closed = False
        self._credential = _Credential(access)
        self._tls = _Tls(access, self._credential)

    def send(self, request: Request) -> bytes:
        """Send it and read the whole answer.

        Raises:
            ApiUnavailableError and what `explain_status` makes of the answer.
        """
        with _reachable(request, self):
            connection, response = self._begin(request)
            body = response.read(_MOST_BODY_BYTES + 1)
        if len(body) > _MOST_BODY_BYTES:
            self._drop(connection)
            raise ApiUnavailableError(f"{request.what}: the answer has no end")
        self._keep(connection, response)
        _check(request, response, body)
        return body

    def stream(self, request: Request) -> Iterator[bytes]:
        """Send it and give the answer line by line, until the server ends it."""
        with _reachable(request, self):
            connection, response = self._begin(request)
        try:
            with _reachable(request, self):
                if response.status != 200:
                    _check(request, response, response.read(_MOST_BODY_BYTES))
                while line := response.readline():
                    yield line
        finally:
            self._drop(connection)

    def close(self) -> None:
        """Close every connection; threads that wait on one get ApiUnavailableError."""
        with self._lock:
            self._is_closed = True
            connections, self._idle = [*self._idle, *self._busy], []
        for connection in connections:
            _shut(connection)

    @property
    def is_closed(self) -> bool:
        """`close` was called."""
        return self._is_closed

    def _begin(
        self, request: Request
    ) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        connection, response = self._ask(request, self._credential.token())
        if response.status == 401 and self._credential.can_renew:
            response.read(_MOST_BODY_BYTES)
            self._keep(connection, response)
            connection, response = self._ask(request, self._credential.token(is_fresh=True))
        return connection, response

    def _ask(
        self, request: Request, token: str
    ) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        headers = request_headers(request, token)
        connection = self._take()
        try:
            connection.timeout = request.idle_seconds or self._idle_seconds
            if connection.sock is not None:
                connection.sock.settimeout(connection.timeout)
            body = request.body or None
            connection.request(request.method, self._prefix + request.path, body, headers)
            response = connection.getresponse()
            self._clock.note(response.headers.get("Date", ""), time.monotonic())
            return connection, response
        except BaseException:
            self._drop(connection)
            raise

    def _take(self) -> http.client.HTTPSConnection:
        with self._lock:
            if self._is_closed:
                raise ApiUnavailableError("the connection to the API server was closed")
            while self._idle:
                connection = self._idle.pop()
                if connection.sock is not None and not _is_readable(connection.sock):
                    self._busy.add(connection)
                    return connection
                connection.close()
            tls_name = self._access.server_name or self._host
            fresh = _Connection(self._host, self._port, self._tls.context(), tls_name)
            self._busy.add(fresh)
            return fresh

    def _keep(
        self, connection: http.client.HTTPSConnection, response: http.client.HTTPResponse
    ) -> None:
        with self._lock:
            self._busy.discard(connection)
            if not response.will_close and not self._is_closed and len(self._idle) < _MOST_KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def _drop(self, connection: http.client.HTTPSConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
        connection.close()


class _Connection(http.client.HTTPSConnection):
    """Connects with the TLS name that the access says, and notices a peer that is gone."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext, tls_name: str) -> None:
        super().__init__(host, port, timeout=REQUEST_SECONDS, context=tls)
        self._tls, self._tls_name = tls, tls_name

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), min(self.timeout or 10.0, 10.0))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self._tls_name)
        except BaseException:
            plain.close()
            raise
        self.sock.settimeout(self.timeout)


class _Credential:
    """The bearer token, from wherever it comes."""

    def __init__(self, access: KubeAccess) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._token = access.token
        self._read_at = float("-inf")
        self.client_certificate: tuple[str, str] | None = None
        if access.command:
            self._run_command()

    @property
    def can_renew(self) -> bool:
        return bool(self._access.token_file or self._access.command)

    def token(self, is_fresh: bool = False) -> str:
        """Args: is_fresh: the last one was not accepted."""
        access = self._access
        with self._lock:
            if access.token_file:
                if is_fresh or time.monotonic() - self._read_at > TOKEN_AGE_SECONDS:
                    self._read_file(access.token_file)
            elif access.command and is_fresh:
                self._run_command()
            return self._token

    def _read_file(self, path: str) -> None:
        try:
            token = Path(path).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            if self._token:
                return  # what was read before may still be good; the server says if it is not
            why = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"the token {path} can't be read", why=why) from None
        self._token, self._read_at = token, time.monotonic()

    def _run_command(self) -> None:
        """A credential plugin (client.authentication.k8s.io), as kubectl runs it."""
        access = self._access
        info = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }
        environment = {**os.environ, **dict(access.command_env)}
        environment["KUBERNETES_EXEC_INFO"] = json.dumps(info)
        try:
            done = subprocess.run(
                access.command,
                env=environment,
                capture_output=True,
                check=True,
                timeout=_COMMAND_SECONDS,
            )
            status = json.loads(done.stdout)["status"]
        except (OSError, ValueError, KeyError, TypeError, subprocess.SubprocessError) as error:
            raise ConfigError(
                f"the credential plugin {access.command[0]} gave nothing", why=str(error)
            ) from None
        self._token = str(status.get("token") or "")
        certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
        if certificate and key:
            self.client_certificate = (str(certificate), str(key))


class _reachable:  # noqa: N801 - used as a statement
    """Turns what a connection can throw into ApiUnavailableError."""

    def __init__(self, request: Request, rest: Rest) -> None:
        self._request, self._rest = request, rest

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        what = self._request.what
        if isinstance(error, ssl.SSLCertVerificationError):
            raise TrustError(
                f"{what}: whoever answered is not this cluster's API server",
                why=error.verify_message,
                remedy="if this machine's clock is right, the CA file is not of this cluster's API "
                "server, or somebody stands in between",
            ) from None
        if isinstance(error, OSError | http.client.HTTPException | ValueError):
            why = "it was closed here" if self._rest.is_closed else _reason(error)
            raise ApiUnavailableError(f"{what}: no answer from the API server", why=why) from None


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _check(request: Request, response: http.client.HTTPResponse, body: bytes) -> None:
    if not 200 <= response.status < 300:
        retry_after = response.headers.get("Retry-After", "")
        raise explain_status(response.status, body, retry_after, request.what)


def _is_readable(sock: socket.socket) -> bool:
    """Nothing was asked, so that something to read is the end."""
    poll = select.poll()
    poll.register(sock, select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def _shut(connection: http.client.HTTPSConnection) -> None:
    sock = connection.sock
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


class _Tls:
    """Whom to believe and how to prove ourselves, as the files say it now; under `Rest`'s lock.

    Raises:
        ConfigError: they can't be used, and never could be.
    """

    def __init__(self, access: KubeAccess, credential: _Credential) -> None:
        self._access, self._credential = access, credential
        self._material = self._read()
        self._context = _make_tls(self._material, access.server)

    def context(self) -> ssl.SSLContext:
        """For the next connection. Files that can't be used, as one that is half written, change
        nothing: the server's certificate says whether what was read before is still good.
        """
        try:
            material = self._read()
            if material != self._material:
                self._context = _make_tls(material, self._access.server)
                self._material = material
        except ConfigError:
            return self._context
        return self._context

    def _read(self) -> tuple[bytes, bytes, bytes]:
        access, own = self._access, self._credential.client_certificate
        authority = _bytes(access.authority)
        if access.authority.path and not authority:
            # OpenSSL would take the machine's own list instead
            raise ConfigError(f"{access.authority.path} is empty")
        if own is not None:
            return authority, own[0].encode(), own[1].encode()
        return authority, _bytes(access.certificate), _bytes(access.key)


def _make_tls(material: tuple[bytes, bytes, bytes], server: str) -> ssl.SSLContext:
    authority, certificate, key = material
    try:
        tls = ssl.create_default_context(cadata=authority.decode("ascii") if authority else None)
        # Python 3.13 asks for key identifiers (RFC 5280) that clusters' own authorities leave out,
        # and that kubectl does not ask for.
        tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if certificate and key:
            _load_pair(tls, certificate, key)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"the certificates for {server} can't be used", why=str(error)) from None
    return tls


def _load_pair(tls: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL's interface here knows files only; this one lives for a moment, ours alone."""
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(certificate + b"\n" + key)
        pair.flush()
        tls.load_cert_chain(pair.name)


def _bytes(material: Material) -> bytes:
    if material.data or not material.path:
        return material.data
    try:
        return Path(material.path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{material.path} can't be read", why=error.strerror or "") from None
