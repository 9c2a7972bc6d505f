"""One node's connections to an API server, as `geneveil.kube.connection` holds them, without a
thread: a connection serves one request at a time and is kept, and one that had a watch is closed.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from geneveil.kube.access import KubeAccess
from geneveil.kube.errors import ApiUnavailableError, explain_status
from geneveil.kube.port import Document, WatchEvent
from geneveil.kube.request import (
    REQUEST_SECONDS,
    Request,
    parse_answer,
    parse_event,
    request_headers,
)
from geneveil.model.errors import TrustError

CONNECTING_AT_ONCE = 64
"""One process makes the handshakes of thousands: waiting for its turn there says nothing of the
server, which is to see each of them done without a pause."""

_LONGEST_LINE_BYTES = 16 * 1024 * 1024
_OURS = {"Accept-Encoding": "identity"}
"""As http.client says."""


class _Connector(aiohttp.TCPConnector):
    def __init__(self, tls: ssl.SSLContext, gate: asyncio.Semaphore) -> None:
        super().__init__(ssl=tls, limit=0, keepalive_timeout=3600)
        self._gate = gate

    async def connect(self, *arguments: Any, **named: Any) -> Any:
        async with self._gate:
            return await super().connect(*arguments, **named)


def trusted_context(access: KubeAccess) -> ssl.SSLContext:
    """What every node of a crowd believes; one for all of them."""
    tls = ssl.create_default_context(cafile=access.authority.path)
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return tls


class NodeHttp:
    """Sends one node's requests; in one event loop.

    Args:
        gate: shared by the crowd, see `CONNECTING_AT_ONCE`.
    """

    def __init__(self, access: KubeAccess, tls: ssl.SSLContext, gate: asyncio.Semaphore) -> None:
        self._access = access
        self._session = aiohttp.ClientSession(
            connector=_Connector(tls, gate), auto_decompress=False, read_bufsize=2**14
        )

    async def send(self, request: Request) -> Document:
        """Send it and read the whole answer; errors as of `KubeClient`."""
        async with self._asked(request) as response:
            body = await response.read()
            _check(request, response, body)
        return parse_answer(body, request.what)

    async def watch(self, request: Request) -> AsyncGenerator[WatchEvent, None]:
        """Send it and give what the server tells, until it ends it."""
        async with self._asked(request) as response:
            if response.status != 200:
                _check(request, response, await response.read())
            async with aclosing(_lines(response)) as lines:
                async for line in lines:
                    yield parse_event(line, request.what)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    @asynccontextmanager
    async def _asked(self, request: Request) -> AsyncGenerator[aiohttp.ClientResponse, None]:
        idle_seconds = request.idle_seconds or REQUEST_SECONDS
        try:
            async with self._session.request(
                request.method,
                URL(self._access.server + request.path, encoded=True),
                data=request.body or None,
                headers={**request_headers(request, self._access.token), **_OURS},
                timeout=aiohttp.ClientTimeout(total=None, sock_read=idle_seconds),
            ) as response:
                try:
                    yield response
                finally:
                    if request.idle_seconds:
                        response.close()  # a watch that nobody listens to any more
        except aiohttp.ClientConnectorCertificateError as error:
            raise TrustError(f"{request.what}: another server answered", why=str(error)) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ApiUnavailableError(f"{request.what}: no answer", why=repr(error)) from None


async def _lines(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    rest = b""
    async for part, _ in response.content.iter_chunks():
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > _LONGEST_LINE_BYTES:
            raise ApiUnavailableError("a watch tells something without an end")
        for line in lines:
            yield line


def _check(request: Request, response: aiohttp.ClientResponse, body: bytes) -> None:
    if not 200 <= response.status < 300:
        retry_after = response.headers.get("Retry-After", "")
        raise explain_status(response.status, body, retry_after, request.what)
