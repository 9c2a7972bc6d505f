"""The checks on join tokens and chassis names."""

from datetime import UTC, datetime, timedelta

import pytest

from geneveil.pki.request import RequestFacts
from geneveil.pki.tokens import (
    TokenRecord,
    check_name,
    check_secret,
    check_token_name,
    hash_secret,
    judge_token,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = bytes(range(32))
FRESH = TokenRecord("00" * 8, hash_secret(SECRET), "node-1", NOW, NOW + timedelta(hours=1))
SPENT = TokenRecord(
    "00" * 8, hash_secret(SECRET), "node-1", NOW, NOW + timedelta(hours=1), b"x", "01"
)


def test_the_secret_is_not_kept() -> None:
    assert SECRET.hex() not in repr(FRESH)
    assert SECRET not in FRESH.secret_sha256


@pytest.mark.parametrize(
    ("record", "secret", "reason"),
    [
        (FRESH, SECRET, None),
        (FRESH, SECRET[:-1] + b"\0", "token-unknown"),
        (FRESH, b"", "token-unknown"),
        (None, SECRET, "token-unknown"),
    ],
)
def test_secret(record: TokenRecord | None, secret: bytes, reason: str | None) -> None:
    finding = check_secret(record, secret)
    assert (finding.reason.value if finding else None) == reason


def test_a_wrong_secret_and_no_such_token_look_the_same() -> None:
    assert check_secret(FRESH, b"") == check_secret(None, b"")


@pytest.mark.parametrize(
    ("record", "after", "reasons"),
    [
        (FRESH, timedelta(), []),
        (FRESH, timedelta(minutes=59, seconds=59), []),
        (FRESH, timedelta(hours=1), ["token-expired"]),
        (SPENT, timedelta(), ["token-used"]),
        (SPENT, timedelta(hours=2), ["token-used", "token-expired"]),
    ],
)
def test_judge_token(record: TokenRecord, after: timedelta, reasons: list[str]) -> None:
    assert [finding.reason.value for finding in judge_token(record, NOW + after)] == reasons


def asking(common_name: str, *alternative_names: str) -> RequestFacts:
    return RequestFacts(
        is_signed_by_its_key=True,
        key_family="ECDSA",
        key_bits=256,
        is_curve_known=True,
        common_names=(common_name,),
        subject_extras=(),
        alternative_names=tuple(("DNS", name) for name in alternative_names),
        extensions=(),
        attributes=(),
    )


@pytest.mark.parametrize(
    ("facts", "is_other"),
    [
        (asking("node-1", "node-1"), False),
        (asking("node-2", "node-2"), True),
        (asking("node-2", "node-1"), False),
        (asking("node-1", "node-1", "node-2"), False),
    ],
)
def test_token_of_another_node(facts: RequestFacts, is_other: bool) -> None:
    finding = check_token_name(FRESH, facts)
    assert (finding is not None) is is_other
    if finding:
        assert finding.reason.value == "token-other-node"


@pytest.mark.parametrize(
    ("chassis", "reason"),
    [
        ("node-1", None),
        ("6b2f1c1e-8a55-4c7e-9f1c-3f0a4b7d2f10", None),
        ("worker_0.prod.example", None),
        ("x" * 63, None),
        ("x" * 64, "name-invalid"),
        ("", "name-invalid"),
        (".", "name-invalid"),
        ("..", "name-invalid"),
        ("node-1.", "name-invalid"),
        ("-node", "name-invalid"),
        ("*", "name-invalid"),
        ("a b", "name-invalid"),
        ("a/b", "name-invalid"),
        ("nöde", "name-invalid"),
        ("node\n", "name-invalid"),
        ("geneveil-operator", "name-reserved"),
        ("Geneveil-Operator", "name-reserved"),
        ("central", "name-reserved"),
        ("CENTRAL", "name-reserved"),
        ("192.0.2.1", "name-reserved"),
        ("Worker", "name-ambiguous"),
        ("worker", None),
    ],
)
def test_check_name(chassis: str, reason: str | None) -> None:
    finding = check_name(chassis, ("central", "192.0.2.1"), ("worker",))
    assert (finding.reason.value if finding else None) == reason
