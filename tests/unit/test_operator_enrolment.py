"""Enrolment without a network: every answer, what it changes, and hostile bytes."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geneveil.enroll.port import JoinToken
from geneveil.enroll.wire import enrol_request_document, parse_enrolment
from geneveil.model.cluster import KeyType
from geneveil.model.errors import RefusedError
from geneveil.operator import io as operator_io
from geneveil.operator.audit import check_chain
from geneveil.operator.config_check import parse_config
from geneveil.operator.enrolment import EnrolmentService
from geneveil.operator.issuing import Answer, Desk
from geneveil.operator.minting import TokenWish, make_tokens, parse_expiry
from geneveil.operator.registry import Registry
from geneveil.operator.store import Store
from geneveil.operator.views import certificates_document, tokens_document
from geneveil.pki.keyfiles import NamedBytes, parse_identity
from geneveil.pki.keys import build_request, encode_key, make_key
from tests.forgery import Forgery, pem_of, with_broken_signature

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CONFIG = """apiVersion: geneveil.io/v1alpha1
kind: ClusterIPsec
metadata: {name: prod}
spec: {mode: Full, operator: {names: [central, 192.0.2.10]}}
"""
KEY = make_key(KeyType.ECDSA_P256)


class MovedClock:
    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at


@dataclass
class Bench:
    """An operator without its HTTPS server."""

    store: Store
    service: EnrolmentService
    registry: Registry
    clock: MovedClock
    desk: Desk

    def token(self, chassis: str = "node-1", expires: str = "1h") -> JoinToken:
        wish = TokenWish(chassis, parse_expiry(expires))
        made = make_tokens(
            self.store, self.registry.state.cluster, [wish], self.clock.at, os.urandom
        )
        return made[0][0]

    def enrol(self, token: JoinToken, csr_pem: str) -> Answer:
        document = enrol_request_document(token, csr_pem.encode())
        return self.service.enrol(json.dumps(document).encode(), "192.0.2.1")

    def last_entry(self) -> tuple[str, str, str, str]:
        entry = self.store.read_audit()[-1]
        return entry.event, entry.reason, entry.chassis, entry.remote


def make_bench(state: Path) -> Bench:
    operator_io.init_state(state, parse_config(CONFIG, "cluster.yaml"), NOW, os.urandom)
    store = operator_io.open_store(state)
    clock = MovedClock()
    registry = Registry(store, partial(operator_io.read_authority, state), clock, os.urandom)
    desk = Desk(registry)
    return Bench(store, EnrolmentService(desk), registry, clock, desk)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = make_bench(tmp_path / "state")
    yield made
    made.store.close()


def csr(chassis: str = "node-1") -> str:
    return build_request(KEY, chassis).decode()


def test_a_good_request(bench: Bench) -> None:
    answer = bench.enrol(bench.token(), csr())
    assert answer.status == 200
    enrolment = parse_enrolment(answer.document)
    assert enrolment.settings == bench.registry.state.cluster.settings
    identity = parse_identity(
        NamedBytes("key", encode_key(KEY)),
        NamedBytes("certificate", enrolment.certificate_pem),
        NamedBytes("bundle", enrolment.trust_bundle_pem),
        "node-1",
        NOW,
    )
    entry = bench.store.read_audit()[-1]
    assert bench.last_entry() == ("issued", "", "node-1", "192.0.2.1")
    assert entry.serial == identity.serial
    serials = [record.serial for record in bench.store.read_certificates()]
    assert check_chain(bench.store.read_audit(), serials) == ()


def test_the_same_again_gets_the_same_certificate(bench: Bench) -> None:
    token = bench.token()
    first = bench.enrol(token, csr())
    bench.clock.at += timedelta(days=2)
    assert bench.enrol(token, csr()) == first
    assert len(bench.store.read_certificates()) == 1
    assert bench.last_entry() == ("issued-again", "", "node-1", "192.0.2.1")


def test_the_same_again_after_the_end_is_refused(bench: Bench) -> None:
    token = bench.token()
    bench.enrol(token, csr())
    bench.clock.at += timedelta(days=366 * 5)
    assert bench.enrol(token, csr()).document["findings"] == ["token-used", "token-expired"]


def spent(bench: Bench) -> JoinToken:
    token = bench.token()
    assert bench.enrol(token, csr()).status == 200
    return token


def expired(bench: Bench) -> JoinToken:
    token = bench.token(expires="1m")
    bench.clock.at += timedelta(minutes=1)
    return token


def wrong_secret(bench: Bench) -> JoinToken:
    token = bench.token()
    return JoinToken(token.chassis, token.identifier, bytes(32), token.ca_pin)


def invented(bench: Bench) -> JoinToken:
    return JoinToken("node-1", bytes(8), bytes(32), bytes(32))


Refusal = tuple[Callable[[Bench], JoinToken], Callable[[], str], int, str, str]
REFUSALS: dict[str, Refusal] = {
    "wrong secret": (wrong_secret, csr, 403, "token-unknown", ""),
    "invented": (invented, csr, 403, "token-unknown", ""),
    "wrong secret, bad request": (wrong_secret, lambda: "x", 403, "token-unknown", ""),
    "expired": (expired, csr, 403, "token-expired", "node-1"),
    "spent": (spent, lambda: Forgery().pem(), 409, "token-used", "node-1"),
    "other node's": (
        lambda bench: bench.token("node-2"),
        csr,
        403,
        "token-other-node",
        "node-2",
    ),
    "no request": (lambda bench: bench.token(), lambda: "x", 422, "csr-malformed", "node-1"),
    "other common name": (
        lambda bench: bench.token(),
        lambda: Forgery(common_names=["node-2"]).pem(),
        422,
        "csr-common-name",
        "node-1",
    ),
    "broken signature": (
        lambda bench: bench.token(),
        lambda: pem_of(with_broken_signature(Forgery().der())),
        422,
        "csr-signature",
        "node-1",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_issue_nothing_and_are_written_down(bench: Bench, case: str) -> None:
    make, ask, status, reason, chassis = REFUSALS[case]
    token = make(bench)
    before = bench.store.read_certificates()
    answer = bench.enrol(token, ask())
    assert (answer.status, answer.document["reason"]) == (status, reason)
    assert bench.last_entry() == ("refused", reason, chassis, "192.0.2.1")
    assert bench.store.read_certificates() == before
    assert token.secret.hex() not in json.dumps(answer.document)


def test_a_refused_request_spends_no_token(bench: Bench) -> None:
    token = bench.token()
    assert bench.enrol(token, Forgery(names=None).pem()).status == 422
    assert bench.enrol(token, csr()).status == 200


def test_one_key_is_one_node(bench: Bench) -> None:
    bench.enrol(bench.token("node-1"), csr("node-1"))
    answer = bench.enrol(bench.token("node-2"), csr("node-2"))
    assert answer.document["reason"] == "csr-key-in-use"
    assert bench.enrol(bench.token("node-1"), csr("node-1")).status == 200


def test_after_the_authority_ended_nothing_is_signed(bench: Bench) -> None:
    bench.clock.at += timedelta(days=366 * 10)
    answer = bench.enrol(bench.token(), csr())
    assert (answer.status, answer.document["reason"]) == (503, "authority-not-valid")
    assert bench.store.read_tokens()[0].serial == ""


@pytest.mark.parametrize(
    ("chassis", "reason"),
    [("central", "name-reserved"), ("Node-1", "name-ambiguous"), ("a*", "name-invalid")],
)
def test_no_token_for_a_name_that_confuses(bench: Bench, chassis: str, reason: str) -> None:
    bench.token("node-1")
    with pytest.raises(RefusedError) as caught:
        bench.token(chassis)
    assert caught.value.reason == reason
    assert len(bench.store.read_tokens()) == 1


def test_several_tokens_are_made_together_or_not_at_all(bench: Bench) -> None:
    wishes = [TokenWish(name, timedelta(hours=1)) for name in ("node-1", "central")]
    with pytest.raises(RefusedError):
        make_tokens(bench.store, bench.registry.state.cluster, wishes, NOW, os.urandom)
    assert bench.store.read_tokens() == ()


def test_a_newer_token_voids_the_older_ones(bench: Bench) -> None:
    old, other = bench.token(), bench.token("node-2")
    cluster = bench.registry.state.cluster
    wish = TokenWish("node-1", timedelta(hours=1))
    ((new, _, voided),) = make_tokens(bench.store, cluster, [wish], NOW, os.urandom)
    assert voided == (old.identifier.hex(),)
    entry = bench.store.read_audit()[-2]
    assert (entry.event, entry.chassis) == ("token-voided", "node-1")
    assert old.identifier.hex() in entry.detail
    refused = bench.enrol(old, csr())
    assert (refused.status, refused.document["reason"]) == (403, "token-void")
    assert bench.enrol(new, csr()).status == 200
    statuses = [row["status"] for row in tokens_document(bench.store.read_tokens(), NOW)["tokens"]]
    assert statuses == ["void", "unused", "used"]
    other_csr = build_request(make_key(KeyType.ECDSA_P256), "node-2").decode()
    assert bench.enrol(other, other_csr).status == 200


def test_spending_a_token_voids_what_is_left_over(bench: Bench) -> None:
    spent_one = bench.token()
    record = bench.store.find_token(spent_one.identifier.hex())
    assert record is not None
    leftover = JoinToken("node-1", b"leftover", spent_one.secret, spent_one.ca_pin)
    # as a database holds it that was made before tokens voided one another
    bench.store.add_token(replace(record, identifier=leftover.identifier.hex()))
    first = bench.enrol(spent_one, csr())
    assert first.status == 200
    entry = bench.store.read_audit()[-1]
    assert (entry.event, entry.remote) == ("token-voided", "192.0.2.1")
    refused = bench.enrol(leftover, Forgery().pem())
    assert (refused.status, refused.document["reason"]) == (403, "token-void")
    assert bench.enrol(spent_one, csr()) == first
    assert len(bench.store.read_certificates()) == 1


def test_a_node_is_named_once(bench: Bench) -> None:
    before = bench.token()
    wishes = [TokenWish("node-1", timedelta(hours=1))] * 2
    with pytest.raises(RefusedError) as caught:
        make_tokens(bench.store, bench.registry.state.cluster, wishes, NOW, os.urandom)
    assert caught.value.reason == "node-repeated"
    assert len(bench.store.read_tokens()) == 1
    assert bench.enrol(before, csr()).status == 200


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "request-not-json"),
        (b"{", "request-not-json"),
        (b"\xff", "request-not-json"),
        (b"[" * 10_000, "request-not-json"),
        (b"[]", "request-shape"),
        (b'{"token": 1, "csr": ""}', "request-shape"),
        (b'{"token": "", "csr": "", "more": 1}', "request-shape"),
        (b'{"token": "\\u00e4", "csr": ""}', "request-shape"),
        (b'{"token": "x", "csr": ""}', "token-malformed"),
    ],
)
def test_bodies_that_are_no_request(bench: Bench, body: bytes, reason: str) -> None:
    answer = bench.service.enrol(body, "192.0.2.1")
    assert (answer.status, answer.document["reason"]) == (400, reason)
    assert bench.last_entry() == ("refused", reason, "", "192.0.2.1")


def test_junk_and_what_a_token_proved_are_each_summed_up(bench: Bench) -> None:
    token = bench.token()
    before = len(bench.store.read_audit())
    for _ in range(50):
        bench.service.enrol(b"{", "192.0.2.1")
        bench.enrol(token, Forgery(names=None).pem())
    entries = bench.store.read_audit()[before:]
    assert [entry.reason for entry in entries].count("request-not-json") == 1
    assert [entry.chassis for entry in entries].count("node-1") == 1
    bench.clock.at += timedelta(minutes=10)
    bench.desk.write_counts()
    minute, ten_minutes = bench.store.read_audit()[-2:]
    assert minute.detail.startswith("and 49 more in the minute from ")
    assert ten_minutes.detail.startswith("and 49 more in the 10 minutes from ")
    assert (ten_minutes.chassis, ten_minutes.reason) == ("node-1", "csr-alternative-name")
    assert check_chain(bench.store.read_audit(), ()) == ()


def test_lists_show_what_became_of_everything(bench: Bench) -> None:
    spent(bench)
    bench.clock.at += timedelta(minutes=10)
    bench.enrol(bench.token(), csr())
    bench.token("node-2", expires="1m")
    bench.token("node-3")
    later = bench.clock.at + timedelta(minutes=30)
    renew_after = bench.registry.state.cluster.settings.certificates.renew_after
    records = bench.store.read_certificates()

    def statuses(at: datetime) -> list[Any]:
        document = certificates_document(records, renew_after, at, with_operator=False)
        return [row["status"] for row in document["certificates"]]

    assert statuses(later) == ["replaced", "valid"]
    assert statuses(later + timedelta(days=4 * 366 + 230)) == ["replaced", "renewal-due"]
    assert statuses(later + timedelta(days=5 * 366)) == ["expired", "expired"]
    assert statuses(NOW - timedelta(days=1))[1] == "not-yet-valid"
    tokens = tokens_document(bench.store.read_tokens(), later)["tokens"]
    assert [row["status"] for row in tokens] == ["used", "used", "expired", "unused"]


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = make_bench(tmp_path_factory.mktemp("operator") / "state")
    yield made
    made.store.close()


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@BOUNDED
@given(body=st.binary(max_size=200) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
def test_arbitrary_bodies_are_refused(shared_bench: Bench, body: bytes) -> None:
    answer = shared_bench.service.enrol(body, "192.0.2.1")
    assert answer.status == 400
    assert answer.document["message"].isascii()


MANGLED = Forgery().der()


@BOUNDED
@given(position=st.integers(0, len(MANGLED) - 1), value=st.integers(0, 255))
def test_requests_with_one_byte_changed_never_certify_another_name(
    shared_bench: Bench, position: int, value: int
) -> None:
    der = bytearray(MANGLED)
    der[position] = value
    answer = shared_bench.enrol(shared_bench.token(), pem_of(bytes(der)))
    assert answer.status in (200, 422)
    assert json.dumps(answer.document).isprintable()
    if answer.status == 200:
        certificate = x509.load_pem_x509_certificate(answer.document["certificate"].encode())
        assert bytes(der) == MANGLED
        assert certificate.subject.rfc4514_string() == "O=prod,CN=node-1"
