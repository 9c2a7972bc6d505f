"""A crowd of nodes in one asyncio process: real TLS, real requests, and what each of them met.

Requests and keys are made before, so that what is measured is the operator and the two ends of
TLS. Every node obeys Retry-After, with jitter from its name, as an agent does.
"""

import asyncio
import json
import resource
import ssl
from asyncio import sslproto
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509

from geneveil.enroll.backoff import backoff_seconds
from geneveil.enroll.io import node_context, verified_context
from geneveil.enroll.port import JoinToken, NodeCredential, WatchState
from geneveil.enroll.watch_wire import watch_request_document
from geneveil.enroll.wire import ENROL_PATH, WATCH_PATH, enrol_request_document
from geneveil.model.cluster import KeyType
from geneveil.model.names import OPERATOR_IDENTITY
from geneveil.pki.keys import build_request, encode_key, make_key

CONNECT_SECONDS = 60.0
HOLD_SECONDS = 120.0


@dataclass
class Member:
    """A node of the crowd.

    Attributes:
        latency_seconds: from its first attempt to its certificate.
        turned_away: how often it was told to come back later.
        cut: how often the connection failed.
    """

    token: JoinToken
    key_pem: bytes
    csr_pem: bytes
    certificate_pem: bytes = b""
    bundle_pem: bytes = b""
    latency_seconds: float = 0.0
    turned_away: int = 0
    cut: int = 0
    refusals: list[str] = field(default_factory=list)

    @property
    def serial(self) -> str:
        certificate = x509.load_pem_x509_certificate(self.certificate_pem)
        return f"{certificate.serial_number:040x}"


@dataclass(frozen=True)
class Reply:
    """An answer over HTTP."""

    status: int
    retry_after_seconds: float
    document: dict[str, Any]


def make_members(tokens: Sequence[JoinToken]) -> list[Member]:
    """Keys and requests, made beforehand."""
    members = []
    for token in tokens:
        key = make_key(KeyType.ECDSA_P256)
        members.append(Member(token, encode_key(key), build_request(key, token.chassis)))
    return members


def make_room() -> None:
    """Let this process have thousands of connections, at a bearable size."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    sslproto.SSLProtocol.max_size = 16 * 1024


async def enrol(
    member: Member, port: int, tls: ssl.SSLContext, longest_wait_seconds: float = 60.0
) -> None:
    """Ask until there is a certificate or a refusal."""
    loop = asyncio.get_running_loop()
    began, attempts = loop.time(), 0
    body = json.dumps(enrol_request_document(member.token, member.csr_pem)).encode()
    while True:
        attempts += 1
        wait = 0.0
        try:
            reply = await _post(port, tls, ENROL_PATH, body)
        except (OSError, EOFError, TimeoutError):
            member.cut += 1
        else:
            if reply.status == 200:
                member.certificate_pem = reply.document["certificate"].encode()
                member.bundle_pem = reply.document["trustBundle"].encode()
                member.latency_seconds = loop.time() - began
                return
            if reply.status not in (429, 503, 500, 408):
                member.refusals.append(reply.document["reason"])
                return
            member.turned_away += 1
            wait = reply.retry_after_seconds
        pause = backoff_seconds(member.token.chassis, attempts, wait)
        await asyncio.sleep(min(pause, longest_wait_seconds))


async def enrol_all(members: Sequence[Member], port: int, bundle_pem: bytes) -> float:
    """All of them in one burst; says how many seconds until the last had its certificate."""
    tls = verified_context(bundle_pem)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(enrol(member, port, tls) for member in members))
    return asyncio.get_running_loop().time() - began


ANSWERED_AT_ONCE_SECONDS = 0.2
"""A question that is refused is refused at once; one that is held is not answered by then."""


class HeldWatch:
    """One watch of a member, held by the operator."""

    def __init__(self, member: Member, generation: int) -> None:
        self._member = member
        self._generation = generation
        self._answer: asyncio.Task[Reply] | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def begin(self, port: int) -> None:
        """Ask; the operator holds the question when this returns. As a node does, it comes back
        when it was told to: all of them come from one address, whose requests are counted."""
        while True:
            await self._ask(port)
            assert self._answer is not None and self._writer is not None  # noqa: S101
            done, _ = await asyncio.wait({self._answer}, timeout=ANSWERED_AT_ONCE_SECONDS)
            if not done:
                return
            reply = self._answer.result()
            self._writer.close()
            if reply.status not in (429, 503):
                raise RuntimeError(f"a watch was answered at once: {reply!r:.300}")
            await asyncio.sleep(reply.retry_after_seconds)

    async def _ask(self, port: int) -> None:
        member = self._member
        credential = NodeCredential(member.key_pem, member.certificate_pem)
        tls = node_context(member.bundle_pem, credential)
        state = WatchState(self._generation, (), (), member.serial)
        body = json.dumps(watch_request_document(state)).encode()
        reader, self._writer = await _connect(port, tls)
        self._writer.write(_head(WATCH_PATH, body) + body)
        await self._writer.drain()
        self._answer = asyncio.ensure_future(_read(reader))

    async def end(self) -> Reply:
        """Wait for the answer."""
        assert self._answer is not None and self._writer is not None  # noqa: S101
        try:
            async with asyncio.timeout(HOLD_SECONDS):
                return await self._answer
        finally:
            self._writer.close()


async def _post(port: int, tls: ssl.SSLContext, path: str, body: bytes) -> Reply:
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await _connect(port, tls)
        try:
            writer.write(_head(path, body) + body)
            await writer.drain()
            return await _read(reader)
        finally:
            writer.close()


async def _connect(
    port: int, tls: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        "127.0.0.1",
        port,
        ssl=tls,
        server_hostname=OPERATOR_IDENTITY,
        ssl_handshake_timeout=CONNECT_SECONDS,
    )


def _head(path: str, body: bytes) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: geneveil-operator",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


async def _read(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
    body = await reader.readexactly(int(fields["content-length"]))
    retry_after = float(fields.get("retry-after", "0"))
    return Reply(int(head[0].split(" ")[1]), retry_after, json.loads(body))
