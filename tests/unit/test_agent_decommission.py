"""A node that leaves takes what is its own out of charon, and nothing of anybody else."""

import itertools

from geneveil.agent.decommission.plan import (
    Outcome,
    Part,
    Step,
    carry_out,
    find_own,
    is_complete,
)
from geneveil.model.connection import ObservedConnection, ObservedIke

KEY = "aa" * 20


def test_credentials_are_cleared_only_where_nobody_else_has_any() -> None:
    ours, others = (
        ObservedConnection(name, ("192.0.2.1",), ("192.0.2.2",), "", ())
        for name in ("geneveil-1", "office")
    )
    # Connections, keys and shared secrets in charon, whether all credentials may be cleared.
    table: list[tuple[tuple[ObservedConnection, ...], set[str], set[str], bool]] = [
        ((ours,), {KEY}, set(), True),
        ((ours,), {KEY, "bb" * 20}, set(), False),
        ((ours,), set(), set(), False),
        ((ours,), {KEY}, {"office"}, False),
        ((ours, others), {KEY}, set(), False),  # it may stand on a shared secret
        ((others,), {KEY}, set(), False),
    ]
    for connections, keys, secrets, may_clear in table:
        observed = ObservedIke(
            "6.0.1", 1, connections, (), frozenset(keys), frozenset(), frozenset(secrets)
        )
        own_keys = {KEY}
        own = find_own(observed, frozenset(own_keys))
        assert own.may_clear is may_clear
        assert "office" not in own.connections


def part(name: str, outcome: Outcome, *after: str) -> Part:
    return Part(name, lambda: Step(name, outcome), after)


def test_what_needs_anothers_end_is_kept_until_then() -> None:
    for first, second in itertools.product(Outcome, repeat=2):
        steps = carry_out(
            [
                part("first", first),
                part("second", second),
                part("key", Outcome.DONE, "first"),
                part("guard", Outcome.DONE, "first", "second", "key"),
            ]
        )
        left = {Outcome.FAILED, Outcome.KEPT}
        outcomes = {step.part: step.outcome for step in steps}
        assert outcomes["key"] is (Outcome.KEPT if first in left else Outcome.DONE)
        assert outcomes["guard"] is (Outcome.KEPT if left & {first, second} else Outcome.DONE)
        assert is_complete(steps) is not bool(left & {first, second})
        detail = next(step.detail for step in steps if step.part == "guard")
        if Outcome.FAILED in (first, second):
            assert ("second" in detail) is (second is Outcome.FAILED)
