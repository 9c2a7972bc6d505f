"""What those who have proved nothing can write to the log, however much they send."""

from datetime import UTC, datetime, timedelta

from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.refusal_summary import MOST_PAIRS, RefusalSummary

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def junk(remote: str, reason: str = "token-unknown") -> AuditEvent:
    return AuditEvent(Event.REFUSED, reason=reason, remote=remote, detail="no token")


def test_the_first_is_written_and_the_rest_are_counted() -> None:
    summary = RefusalSummary()
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
    summary = RefusalSummary()
    summary.note(junk("192.0.2.1"), NOW)
    assert summary.take_counts(NOW + MINUTE) == ()
    assert summary.note(junk("192.0.2.1"), NOW + MINUTE) == (junk("192.0.2.1"),)


def test_many_addresses_fill_no_more_than_their_places() -> None:
    summary, told = RefusalSummary(), 0
    written: list[AuditEvent]
    for minute in range(3):
        at, written = NOW + minute * MINUTE, []
        for number in range(5000):
            written += summary.note(junk(f"192.0.2.{number}"), at)
        assert len(written) <= MOST_PAIRS + 1
        told += sum([_stands_for(one) for one in written])
    told += sum([_stands_for(one) for one in summary.take_counts(at, is_end=True)])
    assert told == 3 * 5000


def _stands_for(event: AuditEvent) -> int:
    return int(event.detail.split()[1]) if event.detail.startswith("and ") else 1
