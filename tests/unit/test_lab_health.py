"""Whether what a node says is well, and of the present."""

from datetime import UTC, datetime, timedelta

import pytest

from lab.health import is_stale

WRITTEN = {"writtenAt": "2026-11-28T03:00:00Z"}
AT = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age_seconds", "stale"), [(0, False), (29, False), (31, True), (-31, True), (86_400, True)]
)
def test_what_was_said_long_ago_or_is_of_the_future_is_stale(age_seconds: int, stale: bool) -> None:
    assert is_stale(WRITTEN, AT + timedelta(seconds=age_seconds)) is stale
