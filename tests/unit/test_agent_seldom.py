"""Readings that are asked for seldom, and never when they may be false."""

from datetime import UTC, datetime

import pytest

from geneveil.agent.guard_keeper.io import GuardKeeper
from geneveil.agent.seldom import REFUSED_SECONDS, Latest, SeldomBolt, SeldomSentinel
from geneveil.guard.wire import ABSENT
from geneveil.model.errors import GeneveilError, KernelError
from geneveil.model.guard import GuardCounter, GuardSpec, ObservedGuard, Tally
from geneveil.model.sentinel import ObservedSentinel, SentinelSpec
from tests.unit.test_agent_disturbed import BY_NFT, SPEC, WIDE, Table

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LONG = 3600.0


def test_a_reading_is_good_for_its_time_unless_it_is_forgotten() -> None:
    times = [100.0]
    latest = Latest[object](5.0, lambda: times[-1])
    reading = object()
    assert latest.get() is None
    latest.keep(reading)
    times.append(104.9)
    assert latest.get() is reading
    times.append(105.0)
    assert latest.get() is None
    latest.keep(reading)
    latest.forget()
    assert latest.get() is None


class Sentinel:
    def __init__(self) -> None:
        self.reads = 0

    def read(self) -> ObservedSentinel:
        self.reads += 1
        return ObservedSentinel(None, {})

    def apply(self, spec: SentinelSpec) -> bool:
        return True


class OldKernel:
    """One that has no tables that persist; until it has."""

    def __init__(self) -> None:
        self.tries = 0
        self.error: GeneveilError | None = KernelError("the kernel refused the bolt")
        self.held: GuardSpec | None = None

    def hold(self, spec: GuardSpec) -> bool:
        self.tries += 1
        if self.error is not None:
            raise self.error
        self.held = spec
        return True


def test_a_bolt_that_was_refused_is_not_asked_for_at_every_turn() -> None:
    kernel = OldKernel()
    times = [0.0]
    bolt = SeldomBolt(kernel, lambda: times[-1])
    for _ in range(3):
        with pytest.raises(KernelError, match="refused the bolt"):
            bolt.hold(SPEC)
    assert (kernel.tries, bolt.held) == (1, None)
    kernel.error = None
    times.append(REFUSED_SECONDS)
    assert bolt.hold(SPEC)
    assert (kernel.tries, bolt.held) == (2, SPEC)


def test_the_sentinel_is_read_once_until_something_is_done() -> None:
    sentinel = Sentinel()
    seldom = SeldomSentinel(sentinel)
    assert seldom.read() is seldom.read()
    seldom.apply(SentinelSpec(("eth0",), (6081,)))
    seldom.read()
    seldom.forget()
    seldom.read()
    assert sentinel.reads == 3


def standing(table: Table, packets: int) -> None:
    spec: GuardSpec = WIDE
    counters = {GuardCounter.CLEARTEXT_OUT: Tally(packets, packets)}
    table.stands = ObservedGuard(True, spec.ports, counters, spec.protocols)


def test_a_guard_that_stands_is_read_once_until_somebody_touches_it() -> None:
    table = Table()
    keeper = GuardKeeper(table, lambda: NOW, table.wake, LONG)
    keeper.cover(WIDE)
    standing(table, 1)
    first = keeper.read()
    standing(table, 2)
    assert keeper.read() is first
    keeper.forget()
    assert keeper.read().counters[GuardCounter.CLEARTEXT_OUT].packets == 2
    standing(table, 3)
    keeper.tend(BY_NFT)
    assert keeper.read().counters[GuardCounter.CLEARTEXT_OUT].packets == 3


def test_a_guard_that_does_not_stand_is_read_every_time() -> None:
    table = Table()
    keeper = GuardKeeper(table, lambda: NOW, table.wake, LONG)
    keeper.cover(SPEC)
    table.stands = ABSENT
    assert not keeper.read().present
    standing(table, 1)
    assert keeper.read().present
