"""The operator's HTTPS interface: JSON in, JSON out, nothing of the inside in a message.

    GET  /healthz        {"status": "ok"}
    GET  /v1/bootstrap   {trustBundle, settings}; public
    POST /v1/enrol       {token, csr} -> {certificate, trustBundle, settings}
    POST /v1/renew       mutual TLS; {csr} -> {certificate, trustBundle, settings, crls}
    POST /v1/watch       mutual TLS; the node's state -> the cluster's, held until it changes

Every other answer is {reason, message}. TLS 1.3 alone is spoken. A client certificate is asked
for and may be missing; TLS proves that its key is there and an authority of ours signed it, at any
time; the rest is judged in `clients`, which can say what is wrong.
"""

import asyncio
import logging
import math
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from aiohttp import web, web_response

from geneveil.enroll.wire import (
    BOOTSTRAP_PATH,
    ENROL_PATH,
    HEALTH_PATH,
    MAX_BODY_BYTES,
    RENEW_PATH,
    WATCH_PATH,
)
from geneveil.model.errors import TrustError
from geneveil.operator.enrolment import EnrolmentService
from geneveil.operator.issuing import Answer
from geneveil.operator.limits import Gate
from geneveil.operator.log_lines import log_line
from geneveil.operator.member import MemberService
from geneveil.operator.queue.loop import BatchQueue, QueueFullError
from geneveil.operator.watch.server import WatchHandler
from geneveil.pki.reasons import Finding, Reason

# what the parser answers to a request that is no HTTP never reaches the handlers below
web_response.SERVER_SOFTWARE = "geneveil"  # type: ignore[attr-defined]

BODY_TIMEOUT_SECONDS = 10.0
KEEPALIVE_SECONDS = 15.0
"""Also the time for the whole of a request's head, the first one's too."""

_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME: an alert "expired" could not say what to do about it."""

_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Refuse = Callable[[Finding, str], Answer]


class OperatorServer:
    """Handlers over services that run in the queue's thread."""

    def __init__(
        self,
        enrolments: EnrolmentService,
        members: MemberService,
        queue: BatchQueue,
        watches: WatchHandler,
    ) -> None:
        self._enrolments = enrolments
        self._members = members
        self._queue = queue
        self._watches = watches
        self._gate = Gate()

    def make_app(self) -> web.Application:
        """The application, ready for a runner."""
        app = web.Application(
            middlewares=[_errors_as_json, self._limit],
            client_max_size=MAX_BODY_BYTES,
            logger=_log,
        )
        app.router.add_get(HEALTH_PATH, self._health)
        app.router.add_get(BOOTSTRAP_PATH, self._bootstrap)
        app.router.add_post(ENROL_PATH, self._enrol)
        app.router.add_post(RENEW_PATH, self._renew)
        app.router.add_post(WATCH_PATH, self._watch)
        app.on_response_prepare.append(_forbid_caching)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _bootstrap(self, request: web.Request) -> web.Response:
        return _respond(self._enrolments.bootstrap())

    async def _enrol(self, request: web.Request) -> web.Response:
        remote = request.remote or ""
        body = await self._read_body(request, self._enrolments.refuse)
        if isinstance(body, Answer):
            return self._conclude(body, remote)
        work = partial(self._enrolments.enrol, body, remote)
        return self._conclude(await self._queue.run(work), remote)

    async def _renew(self, request: web.Request) -> web.Response:
        remote = request.remote or ""
        body = await self._read_body(request, self._members.refuse)
        if isinstance(body, Answer):
            return self._conclude(body, remote)
        work = partial(self._members.renew, client_certificate(request), body, remote)
        return self._conclude(await self._queue.run(work), remote)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        remote = request.remote or ""
        body = await self._read_body(request, self._members.refuse)
        if isinstance(body, Answer):
            return self._conclude(body, remote)
        respond = partial(self._conclude, remote=remote)
        return await self._watches.answer(request, client_certificate(request), body, respond)

    def _conclude(self, answer: Answer, remote: str) -> web.Response:
        if answer.status != web.HTTPOk.status_code:
            self._gate.note_refusal(remote, asyncio.get_running_loop().time())
            _log.warning(log_line("refused", reason=str(answer.document["reason"]), remote=remote))
        return _respond(answer)

    async def _read_body(self, request: web.Request, refuse: _Refuse) -> bytes | Answer:
        finding = Finding(Reason.REQUEST_CONTENT_TYPE, "the content type is not application/json")
        if request.content_type == "application/json":
            try:
                async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                    return await request.read()
            except web.HTTPRequestEntityTooLarge:
                text = f"the body is larger than {MAX_BODY_BYTES} bytes"
                finding = Finding(Reason.REQUEST_TOO_LARGE, text)
        return await self._queue.run(partial(refuse, finding, request.remote or ""))

    @web.middleware
    async def _limit(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        wait = self._gate.admit(request.remote or "", asyncio.get_running_loop().time())
        if wait > 0:
            return _turn_away(429, "too-many-requests", "too many requests from here", wait)
        try:
            return await handler(request)
        except QueueFullError as error:
            message = "the operator is busy"
            return _turn_away(503, "operator-busy", message, error.retry_after_seconds)


def client_certificate(request: web.Request) -> bytes:
    """The certificate that the client proved in TLS, as PEM; empty if it showed none."""
    connection = request.get_extra_info("ssl_object")
    der = connection.getpeercert(binary_form=True) if connection else None
    return ssl.DER_cert_to_PEM_cert(der).encode("ascii") if der else b""


def make_tls(server_file: Path, authorities_pem: bytes) -> ssl.SSLContext:
    """TLS 1.3 with the key and certificate in this file.

    Args:
        authorities_pem: who may have signed a client's certificate; more can be added later by
            load_verify_locations.
    Raises:
        TrustError: the file can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # every connection proves itself anew
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | _NO_CHECK_TIME)
    context.load_verify_locations(cadata=authorities_pem.decode("ascii"))
    load_server_file(context, server_file)
    return context


def load_server_file(context: ssl.SSLContext, server_file: Path) -> None:
    """Show this key and certificate to whoever connects from now on.

    Raises:
        TrustError: the file can't be used.
    """
    try:
        context.load_cert_chain(server_file)
    except OSError as error:  # an SSLError is one
        raise TrustError(f"{server_file} can't be used", why=str(error)) from None


def _respond(answer: Answer) -> web.Response:
    return web.json_response(answer.document, status=answer.status)


def _complain(status: int, reason: str, message: str) -> web.Response:
    return web.json_response({"reason": reason, "message": message}, status=status)


def _turn_away(status: int, reason: str, message: str, wait_seconds: float) -> web.Response:
    response = _complain(status, reason, message)
    response.headers["Retry-After"] = str(max(1, math.ceil(wait_seconds)))
    return response


@web.middleware
async def _errors_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return _complain(404, "not-found", "there is nothing at this path")
    except web.HTTPMethodNotAllowed:
        return _complain(405, "method-not-allowed", "this path does not take this method")
    except web.HTTPException as error:
        return _complain(error.status, "bad-request", "the request can't be understood")
    except TimeoutError:
        return _complain(408, "request-timeout", "the body took too long")
    except ConnectionError:
        raise
    except Exception as error:
        _log.error(log_line("request-failed", path=request.path, error=str(error)))
        return _complain(500, "internal-error", "the operator failed; its log says why")


async def _forbid_caching(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Cache-Control"] = "no-store"
