"""A bounded queue over the one thread that owns the store.

    await run(work) ──> waiting ──> batch ──> one transaction, each work in a savepoint ──> answers

A batch is what has come while the batch before was worked off: one request alone is answered at
once, a burst shares its syncs to the disk. No answer leaves before its batch is durable.

When the queue is full a request is turned away with a time to come back. Each one that is turned
away is given a later time than the one before, at the rate at which work gets done: told the same
time, a thousand nodes would come back together, and most of them in vain.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from geneveil.model.errors import DaemonError
from geneveil.operator.store import Store

MOST_WAITING = 1024
MOST_IN_BATCH = 32
LONGEST_RETRY_SECONDS = 60.0
_FIRST_GUESS_SECONDS = 0.004
_Result = TypeVar("_Result")


class QueueFullError(Exception):
    """Come back in so many seconds."""

    def __init__(self, retry_after_seconds: float) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__("the queue is full")


@dataclass
class _Job:
    work: Callable[[], Any]
    answer: "asyncio.Future[Any]"


class BatchQueue:
    """Args:
    executor: must have one thread; every use of the store goes through here.
    """

    def __init__(self, store: Store, executor: Executor, most_waiting: int = MOST_WAITING) -> None:
        self._store = store
        self._executor = executor
        self._most_waiting = most_waiting
        self._waiting: deque[_Job] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._seconds_each = _FIRST_GUESS_SECONDS
        self._promised_until = 0.0

    async def run(self, work: Callable[[], _Result], *, is_ours: bool = False) -> _Result:
        """Run in the store's thread, in a transaction with others; all or nothing for each.

        Args:
            is_ours: the operator's own work is never turned away.
        Raises:
            QueueFullError: nothing was done.
            DaemonError: the database failed; nothing was changed.
        """
        if not is_ours and len(self._waiting) >= self._most_waiting:
            raise QueueFullError(self._promise())
        loop = asyncio.get_running_loop()
        job = _Job(work, loop.create_future())
        self._waiting.append(job)
        if self._worker is None:
            self._worker = loop.create_task(self._work_off())
        # a client that goes away does not stop a transaction half way
        answer: _Result = await asyncio.shield(job.answer)
        return answer

    async def alone(self, work: Callable[[], _Result]) -> _Result:
        """Run in the store's thread outside any batch: work that has several transactions."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _promise(self) -> float:
        now = asyncio.get_running_loop().time()
        soonest = now + len(self._waiting) * self._seconds_each
        self._promised_until = max(self._promised_until + self._seconds_each, soonest)
        return min(self._promised_until - now, LONGEST_RETRY_SECONDS)

    async def _work_off(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                count = min(len(self._waiting), MOST_IN_BATCH)
                jobs = [self._waiting.popleft() for _ in range(count)]
                began = loop.time()
                results = await loop.run_in_executor(self._executor, self._do, jobs)
                each = (loop.time() - began) / count
                self._seconds_each += (each - self._seconds_each) / 16
                for job, (result, error) in zip(jobs, results, strict=True):
                    if job.answer.done():
                        continue
                    if error is None:
                        job.answer.set_result(result)
                    else:
                        job.answer.set_exception(error)
        finally:
            self._worker = None

    def _do(self, jobs: list[_Job]) -> list[tuple[Any, Exception | None]]:
        results: list[tuple[Any, Exception | None]] = []
        try:
            with self._store.transaction():
                for job in jobs:
                    try:
                        with self._store.transaction():
                            results.append((job.work(), None))
                    except DaemonError:
                        raise  # the database itself: nobody in this batch can be answered
                    except Exception as error:
                        results.append((None, error))
        except Exception as error:
            return [(None, error)] * len(jobs)
        return results
