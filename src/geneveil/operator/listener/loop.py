"""The HTTPS server's socket and its bounds."""

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import Callable

from aiohttp import web

from geneveil.model.errors import ConfigError
from geneveil.operator.log_lines import log_line
from geneveil.operator.server import KEEPALIVE_SECONDS

SHUTDOWN_SECONDS = 5.0
HANDSHAKE_SECONDS = 30.0
ACCEPTED_AT_ONCE = 32
"""New connections a turn of the event loop: more would all be slow instead of some being quick."""

BACKLOG = 4096
RESERVED_FILES = 256

_log = logging.getLogger(__name__)


class listening:  # noqa: N801 - used as a statement
    """The HTTPS server, listening inside the block.

    Args:
        let_go: called when it listens no more, before it waits for answers that are held.
    Raises:
        ConfigError: the address can't be listened on.
    """

    def __init__(
        self,
        app: web.Application,
        address: tuple[str, int],
        tls: ssl.SSLContext,
        let_go: Callable[[], None],
    ) -> None:
        self._runner = web.AppRunner(
            app,
            access_log=None,
            keepalive_timeout=KEEPALIVE_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
            auto_decompress=False,
        )
        self._address = address
        self._tls = tls
        self._let_go = let_go
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> None:
        await self._runner.setup()
        host, port = self._address
        try:
            opened = await asyncio.to_thread(open_listener, host, port)
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(
                _bounded(self._runner, _raise_file_limit()),
                sock=opened,
                ssl=self._tls,
                backlog=ACCEPTED_AT_ONCE,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
            opened.listen(BACKLOG)
        except OSError as error:
            await self._runner.cleanup()
            raise ConfigError(
                f"can't listen on {host} port {port}", why=error.strerror or str(error)
            ) from None
        address = opened.getsockname()
        _log.info(log_line("listening", address=str(address[0]), port=int(address[1])))

    async def __aexit__(self, *exception: object) -> None:
        if self._listener is not None:
            self._listener.close()
        self._let_go()
        await self._runner.cleanup()


def open_listener(host: str, port: int) -> socket.socket:
    """A listening socket at the first address that the name has.

    Raises:
        OSError: there is none, or it is taken.
    """
    flags = socket.AI_PASSIVE
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    family, address = found[0][0], found[0][4]
    return socket.create_server(address[:2], family=family, backlog=BACKLOG)


def _bounded(runner: web.AppRunner, most: int) -> Callable[[], asyncio.Protocol]:
    """Makes a handler for each connection, up to a number: memory and files have an end."""

    def make() -> asyncio.Protocol:
        server = runner.server
        if server is None or len(server.connections) >= most:
            return _Full()
        return server()

    return make


class _Full(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.abort()


def _raise_file_limit() -> int:
    """Let this process have as many connections as it may, and say how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(wanted - RESERVED_FILES, 64)
