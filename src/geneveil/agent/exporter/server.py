"""Serves the latest text over HTTP, in a thread.

Written on a plain socket: what the standard library's HTTP server brings along costs more memory
than this whole package, in an agent that must live in little. One request at a time, which is
what a scraper on the same machine makes; one that is slow is cut off.
"""

import contextlib
import logging
import socket
import threading
import time

from geneveil.agent.exporter.text import CONTENT_TYPE

PATH = "/metrics"
REQUEST_SECONDS = 2.0
MOST_REQUEST_BYTES = 8192
AGAIN_SECONDS = 5.0

_log = logging.getLogger("geneveil.agent")


class MetricsServer:
    """Answers GET /metrics at one address; `failure` says why it does not, empty if it does."""

    def __init__(self, address: str, port: int) -> None:
        self._address = (address, port)
        self._text = b""
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self.failure = ""

    def start(self) -> None:
        """Start serving; goes on until the process ends."""
        self._thread.start()

    def publish(self, text: str) -> None:
        """What to answer from now on."""
        self._text = text.encode()

    def _run(self) -> None:
        while True:
            try:
                self._serve()
            except Exception as error:  # noqa: BLE001, RUF100 - no scraper may end the agent
                self.failure = str(error)
                _log.debug("metrics: %s", error)
            time.sleep(AGAIN_SECONDS)

    def _serve(self) -> None:
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        kind = socket.SOCK_STREAM | socket.SOCK_CLOEXEC
        with contextlib.closing(socket.socket(family, kind)) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(self._address)
            listening.listen(8)
            self.failure = ""
            while True:
                connection, _peer = listening.accept()
                with contextlib.closing(connection), contextlib.suppress(OSError):
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        deadline = time.monotonic() + REQUEST_SECONDS
        request = b""
        while b"\r\n\r\n" not in request:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            part = connection.recv(MOST_REQUEST_BYTES)
            request += part
            if not part or len(request) > MOST_REQUEST_BYTES:
                return
        connection.settimeout(REQUEST_SECONDS)
        connection.sendall(respond(request, self._text))


def respond(request: bytes, text: bytes) -> bytes:
    """The whole answer to a request whose head is complete."""
    words = request.split(b"\r\n", 1)[0].split(b" ")
    status, body, kind = "404 Not Found", b"see /metrics\n", "text/plain; charset=utf-8"
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        status, body = "400 Bad Request", b"this is HTTP\n"
    elif words[0] not in (b"GET", b"HEAD"):
        status, body = "405 Method Not Allowed", b"only GET\n"
    elif words[1].split(b"?")[0] == PATH.encode():
        if text:
            status, body, kind = "200 OK", text, CONTENT_TYPE
        else:
            status, body = "503 Service Unavailable", b"nothing was read yet\n"
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if words[0] == b"HEAD" else body)
