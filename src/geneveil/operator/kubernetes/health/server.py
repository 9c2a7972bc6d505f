"""/healthz and /readyz over plain HTTP, for the kubelet's probes. Nothing else is told."""

import http.server
import threading
from collections.abc import Callable

from geneveil.model.errors import ConfigError


class HealthServer:
    """Answers in threads of its own.

    Args:
        judge: readiness or not -> what is wrong, empty if nothing is.
    Raises:
        ConfigError: the address can't be listened on.
    """

    def __init__(self, address: tuple[str, int], judge: Callable[[bool], str]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                if self.path not in ("/healthz", "/readyz"):
                    self.send_error(404)
                    return
                wrong = judge(self.path == "/readyz")
                body = f"{wrong or 'ok'}\n".encode()
                self.send_response(503 if wrong else 200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                return

        try:
            self._server = http.server.ThreadingHTTPServer(address, Handler)
        except OSError as error:
            raise ConfigError(
                f"can't listen on {address[0]} port {address[1]}", why=error.strerror or ""
            ) from None
        self._server.daemon_threads = True
        thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
