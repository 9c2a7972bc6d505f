"""Who touched the guard: counted once, said for ten minutes, and never a storm of lines."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from geneveil.agent.disturbed import SEEN_FOR_SECONDS, Disturbance, History, judge_disturbances
from geneveil.agent.guard_keeper import io as guard_keeper
from geneveil.agent.guard_keeper.io import GuardKeeper
from geneveil.guard.wire import ABSENT
from geneveil.kernel_events.wire import TableChange
from geneveil.model.errors import KernelError
from geneveil.model.guard import GuardCounter, GuardSpec, ObservedGuard, Tally
from geneveil.model.health import Severity

NOW = datetime(2026, 11, 23, 12, 0, 3, tzinfo=UTC)
SPEC = GuardSpec((6081,))
WIDE = GuardSpec((6081, 7000))
BY_NFT = TableChange(123, "nft")


@dataclass
class Table:
    """A guard in memory; `refuses` as a kernel may."""

    stands: ObservedGuard = ABSENT
    writes: int = 0
    refuses: bool = False
    woken: int = field(default=0)

    def read(self) -> ObservedGuard:
        return self.stands

    def apply(self, spec: GuardSpec) -> bool:
        if self.refuses:
            raise KernelError("the kernel refused the guard")
        if self.stands.stands_for(spec):
            return False
        self.stands = ObservedGuard(True, spec.ports, {}, spec.protocols)
        self.writes += 1
        return True

    def restore(self, spec: GuardSpec, tallies: Mapping[GuardCounter, Tally]) -> ObservedGuard:
        found = self.stands
        if self.apply(spec):
            self.stands = replace(self.stands, counters={**tallies, **found.counters})
        return found

    def cover(self, spec: GuardSpec) -> tuple[GuardSpec, bool]:
        return spec, self.apply(spec)

    def wake(self) -> None:
        self.woken += 1


def keeper_of(table: Table) -> GuardKeeper:
    return GuardKeeper(table, lambda: NOW, table.wake)


def test_a_removed_guard_is_put_back_by_whoever_hears_of_it_and_counted_once() -> None:
    table = Table()
    keeper = keeper_of(table)
    keeper.cover(SPEC)
    table.stands = ABSENT
    keeper.tend(BY_NFT)
    assert table.stands.stands_for(SPEC)
    assert table.woken == 1
    record = keeper.history.records[Disturbance.MISSING]
    assert (record.count, record.culprit, record.at) == (1, "nft (process 123)", NOW)
    keeper.tend(TableChange(200, "nft"))  # that was us
    assert (keeper.history.count, table.writes, table.woken) == (1, 2, 1)


def test_counters_that_went_with_the_table_go_on_from_the_last_reading() -> None:
    table = Table()
    keeper = keeper_of(table)
    keeper.cover(SPEC)
    table.stands = ObservedGuard(True, (6081,), {GuardCounter.CLEARTEXT_OUT: Tally(7, 700)})
    keeper.read()
    table.stands = ABSENT
    keeper.tend(BY_NFT)
    assert keeper.read().counters == {GuardCounter.CLEARTEXT_OUT: Tally(7, 700)}


def test_the_loop_that_saw_it_first_counts_it_once_too() -> None:
    table = Table()
    keeper = keeper_of(table)
    keeper.cover(SPEC)
    table.stands = ObservedGuard(True, None, {})
    keeper.read()
    keeper.read()
    assert keeper.history.count == 1
    assert keeper.apply(SPEC)
    table.stands = ABSENT
    keeper.read()
    assert {kind: record.count for kind, record in keeper.history.records.items()} == {
        Disturbance.ALTERED: 1,
        Disturbance.MISSING: 1,
    }


def test_another_port_of_our_own_is_no_disturbance_and_one_of_others_is() -> None:
    table = Table()
    keeper = keeper_of(table)
    keeper.cover(SPEC)
    keeper.apply(WIDE)
    keeper.tend(None)
    assert keeper.history.count == 0
    table.stands = ObservedGuard(True, (7000,), {})  # a whole guard, for less than we set
    keeper.tend(BY_NFT)
    assert table.stands.stands_for(WIDE)
    assert set(keeper.history.records) == {Disturbance.ALTERED}


def test_before_the_first_guard_nothing_is_set_and_a_refusal_is_not_fatal() -> None:
    table = Table()
    keeper = keeper_of(table)
    keeper.tend(None)
    assert table.writes == 0
    keeper.cover(SPEC)
    table.stands, table.refuses = ABSENT, True
    keeper.tend(BY_NFT)
    keeper.tend(BY_NFT)
    assert (keeper.history.count, table.woken) == (1, 2)
    table.refuses = False
    assert keeper.apply(SPEC)


def test_it_is_said_until_the_guard_stood_for_ten_minutes() -> None:
    history = History().with_another(Disturbance.MISSING, "nft (process 123)", NOW, 1000.0)
    (finding,) = judge_disturbances(history, 1000.0 + SEEN_FOR_SECONDS - 1)
    assert (finding.code, finding.severity) == ("guard-missing", Severity.ERROR)
    assert finding.what == "it was removed by nft (process 123) at 12:00:03Z, and put back"
    assert judge_disturbances(history, 1000.0 + SEEN_FOR_SECONDS) == []


def test_a_fight_over_the_guard_makes_few_lines() -> None:
    history = History()
    texts = []
    for number in range(1000):
        at = NOW + timedelta(seconds=number)
        history = history.with_another(Disturbance.ALTERED, "", at, 1000.0)
        texts += [finding.what for finding in judge_disturbances(history, 1000.0)]
    assert texts[1] == "it was altered 2 times, last at 12:00:04Z, and put back each time"
    assert texts[3] == texts[5] == "it was altered more than 3 times, and put back"
    assert texts[6] == "it was altered more than 6 times, and put back"
    assert texts[-1] == "it was altered more than 768 times, and put back"
    assert len(set(texts)) == 3 + 9
    assert history.latest_at == NOW + timedelta(seconds=999)


@pytest.mark.parametrize(
    ("refuses", "line"), [(False, "guard put back"), (True, "the guard cannot be mended")]
)
def test_a_fight_is_logged_at_once_and_then_counted(
    refuses: bool, line: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "geneveil.agent")
    now = [100.0]
    monkeypatch.setattr(guard_keeper, "time", SimpleNamespace(monotonic=lambda: now[0]))
    table = Table()
    keeper = keeper_of(table)
    keeper.cover(SPEC)
    table.refuses = refuses
    told: list[tuple[float, int]] = []

    def collect() -> None:
        for record in caplog.records:
            assert record.message == line
            told.append((now[0], vars(record)["fields"]["times"]))
        caplog.clear()

    for tenth in range(250):  # ten times a second
        now[0] = 100.0 + tenth / 10
        table.stands = ABSENT
        keeper.tend(BY_NFT)
        assert table.stands.stands_for(SPEC) is not refuses  # each time, at once
        collect()
    assert told == [(100.0, 1), (110.0, 100), (120.0, 100)]
    now[0] = 130.0
    table.refuses = False
    keeper.read()  # nobody fights any more; what was held back is told
    collect()
    keeper.read()
    assert told[3:] == [(130.0, 49)]
    assert caplog.records == []
