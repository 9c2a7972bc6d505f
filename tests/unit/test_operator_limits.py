"""Who may ask now, what waits in the line, and when those that were turned away come back."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geneveil.enroll.backoff import CAP_SECONDS, backoff_seconds
from geneveil.enroll.port import WatchState
from geneveil.enroll.watch_wire import parse_watch_request, watch_request_document
from geneveil.model.errors import DaemonError
from geneveil.operator.limits import (
    ADDRESS_BURST,
    ADDRESS_PER_SECOND,
    MOST_ADDRESSES,
    REFUSAL_COST,
    Bucket,
    Gate,
)
from geneveil.operator.queue.loop import BatchQueue, QueueFullError
from geneveil.operator.store import create_store


def test_a_bucket() -> None:
    bucket = Bucket(2.0, 1.0)
    assert [bucket.take(0.0), bucket.take(0.0), bucket.take(0.0)] == [0.0, 0.0, 1.0]
    assert bucket.take(-100.0) == 1.0  # a clock that goes back fills nothing
    assert bucket.take(1.5) == 0.0


def test_who_guesses_is_slowed_down_and_others_are_not() -> None:
    gate, tries = Gate(), 0
    while gate.admit("192.0.2.1", 0.0) == 0:
        gate.note_refusal("192.0.2.1", 0.0)
        tries += 1
    assert tries <= ADDRESS_BURST / REFUSAL_COST + 1
    assert gate.admit("192.0.2.2", 0.0) == 0
    lasting = 0
    for hundredths in range(1000):
        if gate.admit("192.0.2.1", hundredths / 100) == 0:
            gate.note_refusal("192.0.2.1", hundredths / 100)
            lasting += 1
    assert lasting <= 10 * ADDRESS_PER_SECOND / REFUSAL_COST + 1


def test_addresses_are_forgotten_at_last() -> None:
    gate = Gate()
    for number in range(MOST_ADDRESSES + 10):
        gate.admit(str(number), float(number))
    assert len(gate._addresses) == MOST_ADDRESSES


@given(st.integers(1, 10_000), st.floats(0, 600), st.text(max_size=5))
def test_waiting(attempts: int, asked: float, seed: str) -> None:
    wait = backoff_seconds(seed, attempts, asked)
    assert wait == backoff_seconds(seed, attempts, asked)
    if asked > 0:
        assert asked <= wait <= asked * 1.5
    else:
        assert 0.5 <= wait <= CAP_SECONDS * 1.5


HASHES = st.integers(0, 5).map(lambda number: f"{number:064x}")
SERIALS = st.integers(0, 5).map(lambda number: f"{number:040x}")
STATES = st.builds(
    WatchState,
    st.integers(0, 2**40),
    st.frozensets(HASHES).map(lambda found: tuple(sorted(found))),
    st.dictionaries(HASHES, st.integers(0, 2**40)).map(lambda d: tuple(sorted(d.items()))),
    SERIALS,
    st.frozensets(SERIALS).map(lambda found: tuple(sorted(found))),
)


@given(STATES)
def test_a_watch_is_read_as_it_was_written(state: WatchState) -> None:
    assert parse_watch_request(watch_request_document(state)) == state


def test_a_full_line_gives_later_times_to_later_ones(tmp_path: Path) -> None:
    store = create_store(tmp_path / "operator.db")

    async def crowd() -> tuple[int, list[float]]:
        # All ask at one moment, however slow the machine is.
        asyncio.get_running_loop().time = lambda: 1000.0  # type: ignore[method-assign]
        with ThreadPoolExecutor(1) as executor:
            queue = BatchQueue(store, executor, most_waiting=5)
            asked = [asyncio.ensure_future(queue.run(lambda: 1)) for _ in range(100)]
            results = await asyncio.gather(*asked, return_exceptions=True)
            waits = [one.retry_after_seconds for one in results if isinstance(one, QueueFullError)]
            return results.count(1), waits

    done, waits = asyncio.run(crowd())
    assert done == 5
    assert done + len(waits) == 100
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]
    store.close()


def test_one_that_fails_takes_no_other_along(tmp_path: Path) -> None:
    store = create_store(tmp_path / "operator.db")

    def write(standing: str) -> None:
        store.write_row("INSERT INTO nodes VALUES (?, ?, '', 0)", (standing, standing))
        if standing == "removed":
            raise ValueError("it")

    async def three() -> list[object]:
        with ThreadPoolExecutor(1) as executor:
            queue = BatchQueue(store, executor)
            works = ("revoked", "removed", "readmitted")
            asked = [queue.run(partial(write, one)) for one in works]
            return list(await asyncio.gather(*asked, return_exceptions=True))

    results = asyncio.run(three())
    assert [type(one) for one in results] == [type(None), ValueError, type(None)]
    rows = store.read_rows("SELECT chassis FROM nodes ORDER BY chassis")
    assert rows == [("readmitted",), ("revoked",)]
    store.close()


def test_when_the_database_fails_nobody_is_told_otherwise(tmp_path: Path) -> None:
    store = create_store(tmp_path / "operator.db")

    def fail() -> None:
        store.write_row("INSERT INTO nowhere VALUES (1)", ())

    async def one() -> None:
        with ThreadPoolExecutor(1) as executor:
            await BatchQueue(store, executor).run(fail)

    with pytest.raises(DaemonError):
        asyncio.run(one())
    store.close()
