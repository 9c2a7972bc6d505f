"""Who of a pair initiates, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geneveil.mesh.initiation import (
    BACKOFF_CAP_SECONDS,
    GRACE_SECONDS,
    JITTER,
    backoff_seconds,
    first_attempt_seconds,
    is_initiator,
)

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}[A-Za-z0-9]", fullmatch=True)


@given(NAMES, NAMES)
def test_exactly_one_of_two_initiates(first: str, second: str) -> None:
    if first.lower() != second.lower():
        assert is_initiator(first, second) != is_initiator(second, first)


def test_letter_case_does_not_make_two_rules() -> None:
    assert is_initiator("Node-A", "node-b") == is_initiator("node-a", "NODE-B")


def test_the_work_is_shared() -> None:
    nodes = [f"node{n}" for n in range(100)]
    shares = [sum(is_initiator(a, b) for b in nodes if b != a) for a in nodes]
    assert sum(shares) == 100 * 99 / 2
    assert min(shares) > 25
    assert max(shares) < 75


@given(NAMES, NAMES)
def test_the_initiator_begins_at_once_and_the_other_after_its_grace(a: str, b: str) -> None:
    delay = first_attempt_seconds(a, b)
    if is_initiator(a, b):
        assert delay == 0.0
    else:
        assert GRACE_SECONDS <= delay <= GRACE_SECONDS * (1 + 2 * JITTER)


@pytest.mark.parametrize(
    ("attempts", "plain"),
    [(1, 0.25), (2, 0.5), (3, 1), (4, 2), (5, 4), (6, 8), (7, 15), (8, 15), (10_000, 15)],
)
def test_the_waits_double_up_to_a_cap(attempts: int, plain: float) -> None:
    wait = backoff_seconds("a", "b", attempts)
    assert plain * (1 - JITTER) <= wait <= plain * (1 + JITTER)
    assert wait <= BACKOFF_CAP_SECONDS * (1 + JITTER)


def test_jitter_is_the_same_at_every_look_and_differs_between_pairs_and_sides() -> None:
    assert backoff_seconds("a", "b", 3) == backoff_seconds("a", "b", 3)
    waits = {backoff_seconds(f"a{n}", "b", 3) for n in range(50)}
    assert len(waits) == 50
    assert backoff_seconds("a", "b", 3) != backoff_seconds("b", "a", 3)
