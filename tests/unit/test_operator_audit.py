"""The audit log's chain."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from geneveil.operator.audit import (
    GENESIS,
    AuditEntry,
    AuditEvent,
    Event,
    chain_entry,
    check_chain,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def log(length: int = 4) -> list[AuditEntry]:
    entries: list[AuditEntry] = []
    previous = GENESIS
    for seq in range(1, length + 1):
        event = AuditEvent(Event.ISSUED, chassis=f"node-{seq}", serial=f"{seq:040x}")
        entries.append(chain_entry(event, NOW, seq, previous))
        previous = entries[-1].hash
    return entries


def test_a_whole_log() -> None:
    assert check_chain(log(), [f"{1:040x}"]) == ()
    assert check_chain([], []) == ()


CHANGES: list[Callable[[AuditEntry], AuditEntry]] = [
    lambda entry: replace(entry, at="x"),
    lambda entry: replace(entry, event="x"),
    lambda entry: replace(entry, reason="x"),
    lambda entry: replace(entry, chassis="x"),
    lambda entry: replace(entry, remote="x"),
    lambda entry: replace(entry, serial="x"),
    lambda entry: replace(entry, detail="x"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_entry(change: Callable[[AuditEntry], AuditEntry]) -> None:
    entries = log()
    entries[1] = change(entries[1])
    assert check_chain(entries, []) == ("entry 2 was changed after it was written",)


def test_a_changed_entry_with_its_hash_made_to_fit() -> None:
    entries = log()
    forged = AuditEvent(Event.ISSUED, chassis="other")
    entries[1] = chain_entry(forged, NOW, 2, entries[0].hash)
    assert "entry 3 does not follow the entry before it" in check_chain(entries, [])


def test_a_removed_entry() -> None:
    entries = log()
    del entries[1]
    assert check_chain(entries, []) == (
        "entries 2 to 2 are missing",
        "entry 3 does not follow the entry before it",
    )


def test_a_cut_log_that_lacks_a_certificate() -> None:
    assert check_chain(log()[:3], [f"{4:040x}"]) == (
        f"certificate {4:040x} was issued and no entry tells of it",
    )
