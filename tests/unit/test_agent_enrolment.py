"""When the node enrols, how long it waits, and what a failure is called."""

import pytest

from geneveil.agent.enrolment import (
    JITTER,
    Situation,
    explain_failure,
    must_enrol,
    needs_other_key,
    retry_seconds,
)
from geneveil.model.errors import (
    ConfigError,
    GeneveilError,
    OperatorUnreachableError,
    RefusedError,
    TrustError,
)


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (Situation(True, 10.0, 20.0), False),
        (Situation(False, None, None), True),
        (Situation(False, None, 20.0), True),
        (Situation(False, 10.0, None), False),
        (Situation(False, 10.0, 5.0), False),
        (Situation(False, 10.0, 20.0), True),
    ],
    ids=["usable", "no token yet", "fresh", "unusable, no token", "old token", "new token"],
)
def test_a_node_enrols_when_it_has_to(situation: Situation, expected: bool) -> None:
    assert must_enrol(situation) is expected


@pytest.mark.parametrize(("attempts", "plain"), [(1, 1), (2, 2), (5, 16), (6, 30), (9999, 30)])
def test_attempts_are_spread(attempts: int, plain: float) -> None:
    waits = {retry_seconds(f"node{n}", attempts) for n in range(50)}
    assert len(waits) == 50
    assert all(plain * (1 - JITTER) <= wait <= plain * (1 + JITTER) for wait in waits)
    assert retry_seconds("node1", attempts) == retry_seconds("node1", attempts)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OperatorUnreachableError("no answer", why="refused"), "operator-unreachable"),
        (RefusedError("token-used", "no"), "enrolment-refused-token-used"),
        (TrustError("not the operator"), "enrolment-not-trusted"),
        (ConfigError("not a token"), "enrolment-failed"),
    ],
)
def test_each_failure_has_a_name_and_a_remedy_where_there_is_one(
    error: GeneveilError, code: str
) -> None:
    finding = explain_failure(error)
    assert finding.code == code
    if code.startswith(("operator", "enrolment-refused")):
        assert finding.remedy


@pytest.mark.parametrize("reason", ["csr-key-type", "csr-key-weak", "csr-key-in-use"])
def test_a_refused_key_is_replaced_and_no_token_is_asked_for(reason: str) -> None:
    error = RefusedError(reason, "")
    assert needs_other_key(error)
    assert "another key" in explain_failure(error).remedy
    assert not needs_other_key(RefusedError("csr-common-name", ""))
    assert "token" in explain_failure(RefusedError("token-used", "")).remedy
