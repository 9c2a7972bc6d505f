"""A way to a real API server on which answers are late, lost, or others than the server gave.

HTTPS on a port of this machine; what is not to be disturbed is passed on as it is, streams too.
"""

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from lab.kube.server import ApiServer
from tests.https_listener import listening, url_of

_HOP = {"connection", "content-length", "host", "transfer-encoding", "keep-alive"}


@dataclass
class Fault:
    """What happens to the next requests of a kind.

    Attributes:
        method, path: of the request; the path begins the same, or holds `path` in it.
        times: to how many of them.
        status: answered instead of the API server; 0 to pass the request on.
        reason: of the Status document that is answered.
        retry_after: seconds, as a header; empty for none.
        late_seconds: how long the request is kept first.
        is_lost: the API server did it, and its answer is not passed on.
        is_event: a watch begins, and then is told the status as an event.
    """

    method: str
    path: str
    times: int = 1
    status: int = 0
    reason: str = ""
    retry_after: str = ""
    late_seconds: float = 0.0
    is_lost: bool = False
    is_event: bool = False


@dataclass(frozen=True)
class Asked:
    """A request as it came.

    Attributes:
        headers: by names in small letters.
    """

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class UnreliableApi:
    """Arm it with faults; each is used up by the requests that it meets."""

    server: ApiServer
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    streams: list[socket.socket] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def arm(self, *faults: Fault) -> None:
        """From now on."""
        with self.lock:
            self.faults = list(faults)

    @property
    def is_used_up(self) -> bool:
        """Every fault has happened as often as it was to."""
        with self.lock:
            return not self.faults

    def cut_watches(self) -> None:
        """End every stream in the middle."""
        with self.lock:
            streams, self.streams = self.streams, []
        for stream in streams:
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets."""
        with self.lock:
            for fault in self.faults:
                if fault.method == method and fault.path in path:
                    fault.times -= 1
                    if not fault.times:
                        self.faults.remove(fault)
                    return fault
        return None


def _handler(api: UnreliableApi) -> type[BaseHTTPRequestHandler]:
    tls = ssl.create_default_context(cafile=str(api.server.authority))
    parts = urlsplit(api.server.url)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Quiet."""

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            named = {name.lower(): value for name, value in self.headers.items()}
            api.asked.append(Asked(self.command, self.path, named))
            fault = api.take(self.command, self.path) or Fault("", "")
            time.sleep(fault.late_seconds)
            if fault.status:
                self._say(fault)
                return
            way = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=tls)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
            try:
                way.request(self.command, self.path, body or None, headers)
                sock = way.sock
                response = way.getresponse()
                if "watch=1" in self.path and response.status == 200:
                    self._stream(response, sock)
                    return
                answer = response.read()
            except (OSError, http.client.HTTPException):
                self.close_connection = True  # as if this way were the server that is away
                return
            finally:
                way.close()
            if fault.is_lost:
                self.close_connection = True
                return
            self._answer(response.status, answer, dict(response.getheaders()))

        def _say(self, fault: Fault) -> None:
            body = {
                "kind": "Status",
                "apiVersion": "v1",
                "code": fault.status,
                "reason": fault.reason,
                "message": "made so by a test",
            }
            if fault.is_event:
                line = json.dumps({"type": "ERROR", "object": body}).encode() + b"\n"
                self._answer(200, line, {"Content-Type": "application/json"})
                return
            headers = {"Content-Type": "application/json"}
            if fault.retry_after:
                headers["Retry-After"] = fault.retry_after
            self._answer(fault.status, json.dumps(body).encode(), headers)

        def _stream(self, response: http.client.HTTPResponse, sock: socket.socket) -> None:
            self.close_connection = True
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            with api.lock:
                api.streams.append(sock)
            with suppress(OSError, http.client.HTTPException, ValueError, AttributeError):
                while line := response.readline():
                    self.wfile.write(line)
                    self.wfile.flush()

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in _HOP | {"date", "server"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler._pass_on)
    return Handler


@contextmanager
def unreliable(server: ApiServer) -> Iterator[UnreliableApi]:
    """Serve until the block ends, with the API server's own certificate."""
    api = UnreliableApi(server)
    pki, address = server.layout.pki, server.layout.address
    with listening(pki / "server.crt", pki / "server.key", address) as listener:
        listener.RequestHandlerClass = _handler(api)
        api.url = url_of(listener)
        try:
            yield api
        finally:
            api.cut_watches()
