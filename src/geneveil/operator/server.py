"""The operator's HTTPS interface: JSON in, JSON out, nothing of the inside in a message.

    GET  /healthz        {"status": "ok"}
    GET  /v1/bootstrap   {trustBundle, settings}; public
    POST /v1/enrol       {token, csr} -> {certificate, trustBundle, settings}

Every other answer is {reason, message}. TLS 1.3 alone is spoken. Work on the store is done in one
thread beside the event loop, so that requests wait for one another in order.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from aiohttp import web, web_response

from geneveil.enroll.wire import BOOTSTRAP_PATH, ENROL_PATH, HEALTH_PATH, MAX_BODY_BYTES
from geneveil.operator.enrolment import Answer, EnrolmentService
from geneveil.operator.log_lines import log_line
from geneveil.pki.reasons import Finding, Reason

# what the parser answers to a request that is no HTTP never reaches the handlers below
web_response.SERVER_SOFTWARE = "geneveil"  # type: ignore[attr-defined]

BODY_TIMEOUT_SECONDS = 10.0
KEEPALIVE_SECONDS = 15.0

_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class EnrolmentServer:
    """Handlers over a service that runs in `executor`, which must have one thread."""

    def __init__(self, service: EnrolmentService, executor: Executor) -> None:
        self._service = service
        self._executor = executor

    def make_app(self) -> web.Application:
        """The application, ready for a runner."""
        app = web.Application(
            middlewares=[_errors_as_json], client_max_size=MAX_BODY_BYTES, logger=_log
        )
        app.router.add_get(HEALTH_PATH, self._health)
        app.router.add_get(BOOTSTRAP_PATH, self._bootstrap)
        app.router.add_post(ENROL_PATH, self._enrol)
        app.on_response_prepare.append(_forbid_caching)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _bootstrap(self, request: web.Request) -> web.Response:
        return _respond(self._service.bootstrap())

    async def _enrol(self, request: web.Request) -> web.Response:
        remote = request.remote or ""
        body = await _read_body(request)
        if isinstance(body, Finding):
            answer = await self._run(partial(self._service.refuse, body, remote))
        else:
            answer = await self._run(partial(self._service.enrol, body, remote))
        if answer.status != web.HTTPOk.status_code:
            _log.warning(log_line("refused", reason=str(answer.document["reason"]), remote=remote))
        return _respond(answer)

    async def _run(self, work: Callable[[], Answer]) -> Answer:
        # a client that goes away does not stop a transaction half way
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._executor, work))


def make_tls(server_file: Path) -> ssl.SSLContext:
    """TLS 1.3 with the key and certificate in this file; load_cert_chain renews them in place."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(server_file)
    return context


async def _read_body(request: web.Request) -> bytes | Finding:
    if request.content_type != "application/json":
        return Finding(Reason.REQUEST_CONTENT_TYPE, "the content type is not application/json")
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        return Finding(Reason.REQUEST_TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes")


def _respond(answer: Answer) -> web.Response:
    return web.json_response(answer.document, status=answer.status)


def _complain(status: int, reason: str, message: str) -> web.Response:
    return web.json_response({"reason": reason, "message": message}, status=status)


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
