"""What an operator cannot keep as it should be is told once, and then less and less often."""

import asyncio
import os
import signal
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from geneveil.model.errors import DaemonError
from geneveil.operator import io as operator_io
from geneveil.operator import loop as operator_loop
from geneveil.operator.config_check import parse_config
from geneveil.operator.failure_lines import CAP_SECONDS, FailureLines
from geneveil.operator.queue.loop import BatchQueue
from geneveil.operator.watch.server import WatchBoard
from tests.unit.test_operator_trust import CONFIG, NOW


def test_the_same_failure_is_told_less_and_less_often() -> None:
    lines = FailureLines()
    told = [(second, n) for second in range(100) if (n := lines.failed(f"at {second} s", second))]
    assert told == [(0, 1), (10, 10), (30, 20), (70, 40)]
    later = [second for second in range(100, 20000) if lines.failed(f"at {second} s", second)]
    assert later[-1] - later[-2] == CAP_SECONDS


def test_another_failure_and_the_end_are_told_at_once() -> None:
    lines = FailureLines()
    assert not lines.succeeded()
    assert lines.failed("one", 1.0) == 1
    assert lines.failed("one", 2.0) == 0
    assert lines.failed("another", 2.5) == 1
    assert lines.succeeded()
    assert not lines.succeeded()
    assert lines.failed("another", 3.0) == 1


class Failing:
    """A keeper that finds work, and cannot do it."""

    def __init__(self) -> None:
        self.looks = 0

    def keep(self, _at_seconds: float) -> int:
        self.looks += 1
        raise DaemonError("the authority is not valid yet")

    def write_confirmations(self) -> None:
        pass


def test_a_failure_is_looked_at_again_after_the_usual_time_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """That nodes were told of a change meanwhile is no reason to look again."""
    monkeypatch.setattr(operator_loop, "KEEP_SECONDS", 0.05)
    monkeypatch.setattr(operator_loop, "LOOK_SECONDS", 0.01)
    state = tmp_path / "state"
    operator_io.init_state(state, parse_config(CONFIG, "cluster.yaml"), NOW, os.urandom)
    store = operator_io.open_store(state)
    running = operator_loop.OperatorProcess(state, store)
    keeper: Any = Failing()
    looks: list[int] = []

    async def run() -> None:
        stop: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with ThreadPoolExecutor(max_workers=1) as executor:
            queue = BatchQueue(store, executor)
            ahead = await queue.alone(running._registry.tables.read_generation)
            board = WatchBoard(ahead - 1)
            right = running._registry.tables.read_generation

            def count() -> int:
                looks.append(keeper.looks)
                return right()

            monkeypatch.setattr(running._registry.tables, "read_generation", count)
            for _ in range(3):
                await running._look(stop, keeper, queue, board, tls)
            monkeypatch.setattr(operator_loop, "KEEP_SECONDS", 600.0)
            looking = asyncio.create_task(running._look(stop, keeper, queue, board, tls))
            while keeper.looks < 4 or looks[-1] < 4:
                await asyncio.sleep(0.01)
            await queue.alone(_bump(running))  # somebody changed something: that is one
            await looking

    asyncio.run(run())
    store.close()
    assert keeper.looks == 4
    failures = [line for line in caplog.messages if "keeping-failed" in line]
    assert len(failures) == 1


def _bump(running: operator_loop.OperatorProcess) -> Any:
    def work() -> None:
        with running._registry.store.transaction():
            running._registry.tables.bump()

    return work
