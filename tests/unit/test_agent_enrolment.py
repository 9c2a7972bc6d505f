"""When the node enrols, how long it waits, and what a failure is called."""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from geneveil.agent.enrolment import (
    JITTER,
    RETRY_CAP_SECONDS,
    USED_UP_SECONDS,
    Situation,
    digest_token,
    explain_failure,
    must_enrol,
    needs_other_key,
    pause_after,
    retry_seconds,
)
from geneveil.agent.io import Enroller
from geneveil.agent.plane.io import StandalonePlane
from geneveil.agent.rotation.files import finish_switch
from geneveil.agent.store import CERTIFICATE, NodeStore
from geneveil.enroll.port import Bootstrap, Enrolment, JoinToken
from geneveil.model.cluster import CalendarSpan, ClusterSettings
from geneveil.model.errors import (
    ConfigError,
    GeneveilError,
    OperatorUnreachableError,
    RefusedError,
    TrustError,
)
from geneveil.pki.authority import encode_certificate, sign_node
from tests.unit.test_agent_rotation import NOW, OLD, OLD_PEM


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (Situation(True, True, "b", "a"), False),
        (Situation(False, False, None), True),
        (Situation(False, False, "a"), True),
        (Situation(False, False, "a", "a"), True),
        (Situation(False, True, None, "a"), False),
        (Situation(False, True, "a", "a"), False),
        (Situation(False, True, "b", "a"), True),
        (Situation(False, True, "a", None), True),
        (Situation(True, True, "a", "a", is_refused=True), False),
        (Situation(True, True, "b", "a", is_refused=True), True),
    ],
    ids=[
        *("usable", "no token yet", "fresh", "its certificate was lost", "unusable, no token"),
        *("spent token", "new token", "nobody knows which was spent"),
        *("refused, spent token", "refused, new token"),
    ],
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


def test_a_token_is_told_by_its_content_and_not_given_away() -> None:
    assert digest_token("one\n") == digest_token("one")
    assert digest_token("one") != digest_token("two")
    assert "one" not in digest_token("one")


def test_a_token_that_is_used_up_is_not_shown_again_and_again() -> None:
    for reason in ("token-used", "token-void"):
        assert pause_after(RefusedError(reason, "no"), "node1", 1) == USED_UP_SECONDS
    other = RefusedError("token-expired", "no")  # clocks may be set right
    assert pause_after(other, "node1", 99) <= RETRY_CAP_SECONDS * (1 + JITTER)
    assert pause_after(other, "node1", 99, needs_token=False) > RETRY_CAP_SECONDS * (1 + JITTER)
    busy = OperatorUnreachableError("busy")
    busy.retry_after_seconds = 77.0
    assert pause_after(busy, "node1", 1) == 77.0


class Clock:
    """Years ahead when the first certificate is written, and then set right."""

    def now(self) -> datetime:
        return NOW


class Operator:
    """Enrols whoever has a token, with any request."""

    def __init__(self) -> None:
        self.serial = 0

    def fetch_bootstrap(self, _pin: bytes) -> Bootstrap:
        return Bootstrap(OLD_PEM, ClusterSettings())

    def enrol(self, token: JoinToken, csr_pem: bytes, _bundle: bytes) -> Enrolment:
        self.serial += 1
        key = x509.load_pem_x509_csr(csr_pem).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        serial = bytes([self.serial] * 20)
        leaf = sign_node(OLD, key, token.chassis, "prod", CalendarSpan(60), NOW, serial)
        return Enrolment(encode_certificate(leaf), OLD_PEM, ClusterSettings())


@dataclass
class Plane(StandalonePlane):
    """geneveil's own, with an operator of values."""

    operator: Operator
    token_text: str = "a"

    def token(self, chassis: str) -> JoinToken:
        return JoinToken(chassis, b"", b"", b"")

    def token_digest(self) -> str | None:
        return digest_token(self.token_text)

    def join(self, _token: JoinToken) -> Any:
        return self.operator

    def joined(self, _token: JoinToken) -> None:
        pass


def test_another_token_is_taken_whenever_it_was_written(tmp_path: Path) -> None:
    """A certificate written while the clock was years ahead, a token copied with its old time."""
    store, plane = NodeStore(tmp_path), Plane(Operator())
    enroller = Enroller(plane, store, Clock(), lambda: None)

    def wants(has_identity: bool, is_refused: bool = False) -> bool:
        enroller.update("node1", has_identity, is_refused)
        return enroller._is_wanted

    assert wants(has_identity=False)
    assert enroller._attempt() is None
    first = store.read(CERTIFICATE)
    os.utime(tmp_path / CERTIFICATE, (9e9, 9e9))
    assert not wants(has_identity=False)
    assert not wants(has_identity=True, is_refused=True)
    plane.token_text = "b"
    assert not wants(has_identity=True)
    assert wants(has_identity=True, is_refused=True)  # it was revoked, and let in again
    assert wants(has_identity=False)
    assert enroller._attempt() is None
    assert finish_switch(store, is_urgent=True)
    assert store.read(CERTIFICATE) != first
    assert not wants(has_identity=False)


@pytest.mark.parametrize("reason", ["csr-key-type", "csr-key-weak", "csr-key-in-use"])
def test_a_refused_key_is_replaced_and_no_token_is_asked_for(reason: str) -> None:
    error = RefusedError(reason, "")
    assert needs_other_key(error)
    assert "another key" in explain_failure(error).remedy
    assert not needs_other_key(RefusedError("csr-common-name", ""))
    assert "token" in explain_failure(RefusedError("token-used", "")).remedy
