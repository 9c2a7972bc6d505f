"""Holds watches and wakes them all together.

A held watch costs its connection and one suspended coroutine; nothing runs for it until the
generation changes or its time is over. When all wake at once, their answers are made a few at a
time: a long CRL for each of five thousand nodes at once would not fit into memory.
"""

import asyncio
import json
from collections.abc import Callable
from functools import partial

from aiohttp import web

from geneveil.operator.confirmations import HOLD_SECONDS, Confirmations
from geneveil.operator.issuing import Answer
from geneveil.operator.member import MemberService, WatchTicket
from geneveil.operator.queue.loop import BatchQueue

MOST_ANSWERED_AT_ONCE = 32
WRITE_TIMEOUT_SECONDS = 20.0


class WatchBoard:
    """The generation that is known now, and everybody who waits for another."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self._changed = asyncio.Event()

    def announce(self, generation: int) -> None:
        """There is a new generation: wake everybody."""
        if generation == self.generation:
            return
        self.generation = generation
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def release(self) -> None:
        """The operator stops: everybody gets the answer that there is."""
        self._changed.set()

    async def wait(self, generation: int, seconds: float) -> None:
        """Until the generation differs, but no longer than that."""
        if generation != self.generation:
            return
        changed = self._changed
        try:
            async with asyncio.timeout(seconds):
                await changed.wait()
        except TimeoutError:
            return


class WatchHandler:
    """Answers POST /v1/watch."""

    def __init__(
        self,
        members: MemberService,
        confirmations: Confirmations,
        queue: BatchQueue,
        board: WatchBoard,
        hold_seconds: float = HOLD_SECONDS,
    ) -> None:
        self._members = members
        self._confirmations = confirmations
        self._queue = queue
        self._board = board
        self._hold_seconds = hold_seconds
        self._answering = asyncio.Semaphore(MOST_ANSWERED_AT_ONCE)

    async def answer(
        self,
        request: web.Request,
        certificate_pem: bytes,
        body: bytes,
        respond: Callable[[Answer], web.Response],
    ) -> web.StreamResponse:
        """Take the confirmation, hold, answer. Refusals leave by `respond`."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        begin = partial(self._members.begin_watch, certificate_pem, body, began)
        ticket = await self._queue.run(begin)
        if not isinstance(ticket, WatchTicket):
            return respond(ticket)
        if ticket.is_sign_of_life:
            self._confirmations.hold(ticket.chassis)
        try:
            await self._board.wait(ticket.generation, self._hold_seconds)
        finally:
            if ticket.is_sign_of_life:
                self._confirmations.release(ticket.chassis, loop.time())
        async with self._answering:
            held_seconds = loop.time() - began
            end = partial(self._members.end_watch, certificate_pem, held_seconds)
            answer = await self._queue.run(end, is_ours=True)
            if answer.status != web.HTTPOk.status_code:
                return respond(answer)
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                return await _write(request, json.dumps(answer.document).encode())


async def _write(request: web.Request, body: bytes) -> web.StreamResponse:
    """Send the whole answer before the next one is made."""
    response = web.StreamResponse()
    response.content_type = "application/json"
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body)
    await response.write_eof()
    return response
