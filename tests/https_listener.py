"""HTTPS on a port of this machine, for servers that tests play."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@contextmanager
def listening(
    certificate: Path, key: Path | None = None, address: str = "127.0.0.1"
) -> Iterator[ThreadingHTTPServer]:
    """Serve until the block ends; set `RequestHandlerClass` before anybody is told the URL.

    Args:
        key: None if it is in the certificate's file.
    """
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    listener = ThreadingHTTPServer((address, 0), BaseHTTPRequestHandler)
    listener.daemon_threads = True
    listener.socket = tls.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=lambda: listener.serve_forever(0.02), daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


def url_of(listener: ThreadingHTTPServer) -> str:
    """Where it is."""
    address, port = listener.server_address[:2]
    return f"https://{address!s}:{port}"
