"""The operator in a thread of this process, for tests that move its clock."""

import asyncio
import signal
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from geneveil.enroll.io import EnrolmentClient
from geneveil.operator import io as operator_io
from geneveil.operator.loop import OperatorProcess
from lab.ports import free_port
from tests.operator_process import DEADLINE_SECONDS


class AheadClock:
    """The right time, and so much more."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC).replace(microsecond=0) + self.ahead


class OperatorThread:
    """Serves inside the block."""

    def __init__(self, state: Path, clock: AheadClock) -> None:
        self._state, self._clock = state, clock
        self.port = free_port("127.0.0.1")
        self.client = EnrolmentClient(f"https://127.0.0.1:{self.port}")
        self._ready = threading.Event()
        self._stop: asyncio.Future[signal.Signals] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "OperatorThread":
        self._thread.start()
        assert self._ready.wait(DEADLINE_SECONDS)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self._listens():
            assert self._thread.is_alive(), self._failure
            assert time.monotonic() < deadline, "it does not listen"
            time.sleep(0.02)
        return self

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *exception: object) -> None:
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._end)
        self._thread.join(DEADLINE_SECONDS)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _end(self) -> None:
        assert self._stop is not None
        self._stop.set_result(signal.SIGTERM)

    def _run(self) -> None:
        store = operator_io.open_store(self._state)
        try:
            asyncio.run(self._serve(OperatorProcess(self._state, store, self._clock)))
        except BaseException as error:
            self._failure = error
        finally:
            self._ready.set()
            store.close()

    async def _serve(self, process: OperatorProcess) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = self._loop.create_future()
        self._ready.set()
        await process.serve(self._stop, "127.0.0.1", self.port)
