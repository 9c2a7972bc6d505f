"""What others can write to the log, however much they send."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.refusal_summary import PROVED, UNPROVED, Bounds, RefusalSummary

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def junk(remote: str, reason: str = "token-unknown") -> AuditEvent:
    return AuditEvent(Event.REFUSED, reason=reason, remote=remote, detail="no token")


def test_the_first_is_written_and_the_rest_are_counted() -> None:
    summary = RefusalSummary(UNPROVED)
    assert summary.note(junk("192.0.2.1"), NOW) == (junk("192.0.2.1"),)
    for _ in range(41):
        assert summary.note(junk("192.0.2.1"), NOW) == ()
    other = junk("192.0.2.1", "request-shape")
    assert summary.note(other, NOW) == (other,)
    assert summary.take_counts(NOW) == ()
    (count,) = summary.take_counts(NOW + MINUTE)
    assert (count.reason, count.remote) == ("token-unknown", "192.0.2.1")
    assert count.detail == "and 41 more in the minute from 2026-11-23T12:00:00Z"
    # the count was the entry of this minute
    assert summary.note(junk("192.0.2.1"), NOW + MINUTE) == ()
    (count,) = summary.take_counts(NOW + MINUTE, is_end=True)
    assert count.detail.startswith("and 1 more")


def test_nothing_is_told_twice() -> None:
    summary = RefusalSummary(UNPROVED)
    summary.note(junk("192.0.2.1"), NOW)
    assert summary.take_counts(NOW + MINUTE) == ()
    assert summary.note(junk("192.0.2.1"), NOW + MINUTE) == (junk("192.0.2.1"),)


def test_many_addresses_fill_no_more_than_their_places() -> None:
    summary, told = RefusalSummary(UNPROVED), 0
    written: list[AuditEvent]
    for minute in range(3):
        at, written = NOW + minute * MINUTE, []
        for number in range(5000):
            written += summary.note(junk(f"192.0.2.{number}"), at)
        assert len(written) <= UNPROVED.most + 1
        told += sum([_stands_for(one) for one in written])
    told += sum([_stands_for(one) for one in summary.take_counts(at, is_end=True)])
    assert told == 3 * 5000


def test_what_a_node_is_refused_is_counted_by_node_and_reason() -> None:
    summary = RefusalSummary(PROVED)
    revoked, early = shut_out("node-1", "node-revoked"), shut_out("node-1", "renewal-too-early")
    other = shut_out("node-2", "node-revoked")
    for one in (revoked, early, other):
        assert summary.note(one, NOW) == (one,)
    for second in range(9 * 60):
        elsewhere = replace(revoked, remote=f"192.0.2.{second % 200}")  # an address is no new kind
        assert summary.note(elsewhere, NOW + second * timedelta(seconds=1)) == ()
    assert summary.take_counts(NOW + 9 * MINUTE) == ()
    (count,) = summary.take_counts(NOW + 10 * MINUTE)
    assert (count.chassis, count.reason) == ("node-1", "node-revoked")
    assert count.detail == "and 540 more in the 10 minutes from 2026-11-23T12:00:00Z"


@pytest.mark.parametrize("bounds", [UNPROVED, PROVED, Bounds(timedelta(hours=1), 3)])
def test_however_many_kinds_there_are_a_window_has_an_end(bounds: Bounds) -> None:
    summary, written = RefusalSummary(bounds), 0
    for number in range(3000):
        written += len(summary.note(shut_out(f"node-{number}", "node-revoked"), NOW))
    assert written == bounds.most + 1
    counts = summary.take_counts(NOW, is_end=True)
    assert sum(_stands_for(one) for one in counts) == 3000 - written


def shut_out(chassis: str, reason: str) -> AuditEvent:
    return AuditEvent(Event.REFUSED, reason=reason, chassis=chassis, remote="192.0.2.1")


def _stands_for(event: AuditEvent) -> int:
    return int(event.detail.split()[1]) if event.detail.startswith("and ") else 1
