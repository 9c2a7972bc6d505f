"""Renewal, watch, revocation, CRLs and roll-over without a network, on a clock that is moved."""

import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geneveil.enroll.port import JoinToken, WatchState
from geneveil.enroll.watch_wire import (
    parse_renewal,
    parse_watch_answer,
    renew_request_document,
    watch_request_document,
)
from geneveil.enroll.wire import enrol_request_document, parse_enrolment
from geneveil.model.cluster import KeyType
from geneveil.model.errors import GeneveilError, RefusedError
from geneveil.operator import io as operator_io
from geneveil.operator.audit import check_chain
from geneveil.operator.ca_view import ca_document
from geneveil.operator.clock_mark.io import FILE, open_clock_mark
from geneveil.operator.config_check import parse_config
from geneveil.operator.confirmations import Confirmations
from geneveil.operator.decide_renewal import MOST_A_DAY
from geneveil.operator.enrolment import EnrolmentService
from geneveil.operator.issuing import Answer, Desk
from geneveil.operator.keeper import Keeper, KeyFiles
from geneveil.operator.loop import OperatorProcess
from geneveil.operator.member import MemberService, WatchTicket
from geneveil.operator.minting import TokenWish, authority_pin, make_tokens, parse_expiry
from geneveil.operator.records import Standing
from geneveil.operator.registry import Registry
from geneveil.operator.revocation import revoke_node
from geneveil.operator.rotation_request import request_rotation
from geneveil.operator.store import Store
from geneveil.pki.crl import RevocationReason, read_crl_state
from geneveil.pki.keys import PrivateKey, build_request, make_key
from geneveil.pki.rollover import Phase

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
CONFIG = """apiVersion: geneveil.io/v1alpha1
kind: ClusterIPsec
metadata: {name: prod}
spec: {mode: Full}
"""
YEAR = timedelta(days=365)


class MovedClock:
    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at


@dataclass
class Node:
    """What a node holds."""

    chassis: str
    certificate: bytes
    key: PrivateKey
    trusts: tuple[str, ...] = ()
    generation: int = 0

    @property
    def serial(self) -> str:
        return f"{x509.load_pem_x509_certificate(self.certificate).serial_number:040x}"


@dataclass
class Bench:
    """An operator without its HTTPS server and without time."""

    state: Path
    store: Store
    clock: MovedClock
    registry: Registry
    confirmations: Confirmations
    members: MemberService
    enrolments: EnrolmentService
    keeper: Keeper
    seconds: float = 0.0
    nodes: list[Node] = field(default_factory=list)

    def token(self, chassis: str, readmit: bool = False) -> JoinToken:
        wish = TokenWish(chassis, parse_expiry("1h"), readmit=readmit)
        self.registry.refresh()
        cluster = self.registry.state.cluster
        return make_tokens(self.store, cluster, [wish], self.clock.at, os.urandom)[0][0]

    def enrol(self, chassis: str, readmit: bool = False) -> Node:
        token, key = self.token(chassis, readmit), make_key(KeyType.ECDSA_P256)
        document = enrol_request_document(token, build_request(key, chassis))
        answer = self.enrolments.enrol(json.dumps(document).encode(), "192.0.2.1")
        assert answer.status == 200, answer.document
        return Node(chassis, parse_enrolment(answer.document).certificate_pem, key)

    def renew(self, node: Node, key: PrivateKey | None = None, name: str = "") -> Answer:
        request = build_request(key or make_key(KeyType.ECDSA_P256), name or node.chassis)
        body = json.dumps(renew_request_document(request)).encode()
        return self.members.renew(node.certificate, body, "192.0.2.1")

    def replace(self, node: Node) -> None:
        key = make_key(KeyType.ECDSA_P256)
        answer = self.renew(node, key)
        assert answer.status == 200, answer.document
        node.certificate, node.key = parse_renewal(answer.document).certificate_pem, key

    def watch(self, node: Node) -> Answer:
        state = WatchState(node.generation, node.trusts, (), node.serial)
        body = json.dumps(watch_request_document(state)).encode()
        ticket = self.members.begin_watch(node.certificate, body, self.seconds)
        if not isinstance(ticket, WatchTicket):
            return ticket
        answer = self.members.end_watch(node.certificate, 0.0)
        told = parse_watch_answer(answer.document)
        node.generation = told.generation
        bundle = x509.load_pem_x509_certificates(told.trust_bundle_pem)
        node.trusts = tuple(one.fingerprint(_sha256()).hex() for one in bundle)
        return answer

    def keep(self) -> Phase:
        self.keeper.keep(self.seconds)
        return self.registry.state.trust.phase

    def reason(self, answer: Answer) -> tuple[int, str]:
        return answer.status, str(answer.document.get("reason", ""))


def revoke(bench: Bench, chassis: str) -> None:
    """By `geneveil operator revoke`."""
    reason = RevocationReason.KEY_COMPROMISE
    revoke_node(bench.store, chassis, Standing.REVOKED, reason, bench.clock.at)


def listed(bench: Bench) -> frozenset[str]:
    """Serials on the CRL of the first authority."""
    return read_crl_state(bench.registry.state.crls_pem[0]).serials


def _sha256() -> Any:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256()


def make_bench(state: Path, config: str = CONFIG) -> Bench:
    operator_io.init_state(state, parse_config(config, "cluster.yaml"), NOW, os.urandom)
    return open_bench(state, MovedClock())


def open_bench(state: Path, clock: MovedClock) -> Bench:
    store = operator_io.open_store(state)
    registry = Registry(store, partial(operator_io.read_authority, state), clock, os.urandom)
    confirmations = Confirmations(away_after_seconds=10)
    desk = Desk(registry)
    files = KeyFiles(
        write=partial(operator_io.write_authority_key, state, lock=None),
        remove=partial(operator_io.remove_authority_keys, state),
    )
    keeper = Keeper(registry, confirmations, files, open_clock_mark(state / "cluster"))
    made = Bench(
        state,
        store,
        clock,
        registry,
        confirmations,
        MemberService(desk, confirmations),
        EnrolmentService(desk),
        keeper,
    )
    made.keep()
    return made


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = make_bench(tmp_path / "state")
    yield made
    records = made.store.read_certificates()
    assert check_chain(made.store.read_audit(), (record.serial for record in records)) == ()
    made.store.close()


def test_a_renewal_in_its_time(bench: Bench) -> None:
    node = bench.enrol("node-1")
    old = Node(node.chassis, node.certificate, node.key)
    assert bench.reason(bench.renew(node)) == (409, "renewal-too-early")
    bench.clock.at = datetime(2031, 5, 23, 12, 0, tzinfo=UTC)  # 54 months
    key = make_key(KeyType.ECDSA_P256)
    first = bench.renew(node, key)
    assert first.status == 200
    assert bench.renew(node, key) == first  # the answer was lost
    assert [entry.event for entry in bench.store.read_audit()][-2:] == ["renewed", "issued-again"]
    node.certificate = parse_renewal(first.document).certificate_pem
    certificate = x509.load_pem_x509_certificate(node.certificate)
    assert certificate.not_valid_after_utc == datetime(2036, 5, 23, 11, 55, tzinfo=UTC)
    assert bench.store.read_certificates()[-1].predecessor == old.serial
    assert bench.watch(node).status == 200
    assert bench.reason(bench.renew(old)) == (403, "certificate-superseded")
    assert bench.watch(old).status == 200  # it is valid until it ends


def test_an_old_key_does_not_speak_for_the_node(bench: Bench) -> None:
    node = bench.enrol("node-1")
    old = Node(node.chassis, node.certificate, node.key)
    bench.watch(node)
    bench.clock.at = datetime(2031, 5, 23, 12, 0, tzinfo=UTC)
    bench.replace(node)
    bench.watch(node)
    said = bench.confirmations.find("node-1")
    assert said is not None
    for serial in (old.serial, node.serial):  # whichever it says it uses
        state = WatchState(0, (), (), serial)
        body = json.dumps(watch_request_document(state)).encode()
        ticket = bench.members.begin_watch(old.certificate, body, 1000.0)
        assert isinstance(ticket, WatchTicket)
        assert not ticket.is_sign_of_life
        assert bench.confirmations.find("node-1") == said
        assert bench.reason(bench.renew(old)) == (403, "certificate-superseded")
    assert not bench.confirmations.is_live("node-1", 1001.0)
    state = WatchState(0, (), (), old.serial)  # nor does the node itself go back
    body = json.dumps(watch_request_document(state)).encode()
    assert isinstance(bench.members.begin_watch(node.certificate, body, 1000.0), WatchTicket)
    assert bench.confirmations.find("node-1") == said
    again = bench.enrol("node-1")  # only what was issued later takes its place
    bench.watch(again)
    assert bench.confirmations.serial_of("node-1") == again.serial


def test_a_node_that_uses_none_of_its_certificates_gets_no_more(bench: Bench) -> None:
    node = bench.enrol("node-1")
    bench.clock.at = datetime(2031, 5, 23, 12, 0, tzinfo=UTC)
    answers = [bench.renew(node).status for _ in range(MOST_A_DAY + 5)]
    assert answers == [200] * MOST_A_DAY + [422] * 5
    assert bench.reason(bench.renew(node)) == (422, "too-many-certificates")
    bench.clock.at += timedelta(days=1)
    assert bench.renew(node).status == 200


def test_a_renewal_of_the_old_key(bench: Bench) -> None:
    node = bench.enrol("node-1")
    bench.clock.at += timedelta(days=54 * 31)
    assert bench.renew(node, node.key).document["findings"] == ["csr-key-reused"]


def test_a_renewal_of_another_name(bench: Bench) -> None:
    node, other = bench.enrol("node-1"), bench.enrol("node-2")
    bench.clock.at += timedelta(days=54 * 31)
    assert bench.reason(bench.renew(node, name="node-2")) == (422, "csr-common-name")
    assert bench.reason(bench.renew(node, other.key)) == (422, "csr-key-in-use")


def test_no_certificate_is_unknown_and_old_ones_are_told_apart(bench: Bench) -> None:
    node = bench.enrol("node-1")
    nobody = Node("node-1", b"", node.key)
    body = json.dumps(watch_request_document(WatchState(0, (), (), node.serial))).encode()
    for answer in (bench.members.begin_watch(b"", body, 0.0), bench.renew(nobody)):
        assert isinstance(answer, Answer)
        assert bench.reason(answer) == (401, "client-certificate-missing")
    bench.clock.at += 6 * YEAR
    assert bench.reason(bench.watch(node)) == (403, "certificate-expired")
    assert bench.reason(bench.renew(node)) == (403, "certificate-expired")


def test_an_invented_serial_is_no_confirmation(bench: Bench) -> None:
    node, other = bench.enrol("node-1"), bench.enrol("node-2")
    for serial in ("0" * 40, other.serial):
        body = json.dumps(watch_request_document(WatchState(0, (), (), serial))).encode()
        answer = bench.members.begin_watch(node.certificate, body, 0.0)
        assert isinstance(answer, Answer)
        assert answer.status == 400
    assert bench.confirmations.find("node-1") is None


def test_a_revocation(bench: Bench) -> None:
    node, other = bench.enrol("node-1"), bench.enrol("node-2")
    unspent = bench.token("node-2")
    before = parse_watch_answer(bench.watch(node).document)
    reason = RevocationReason.KEY_COMPROMISE
    done = revoke_node(bench.store, "node-2", Standing.REVOKED, reason, bench.clock.at)
    assert (done.certificates, done.tokens, done.is_new) == (1, 1, True)
    bench.keep()
    told = parse_watch_answer(bench.watch(node).document)
    assert told.generation > before.generation
    assert told.revoked_chassis == ("node-2",)
    assert read_crl_state(told.crls_pem[0]).serials == {other.serial}
    assert bench.reason(bench.watch(other)) == (403, "node-revoked")
    assert bench.reason(bench.renew(other)) == (403, "node-revoked")
    request = build_request(make_key(KeyType.ECDSA_P256), "node-2")
    document = enrol_request_document(unspent, request)
    answer = bench.enrolments.enrol(json.dumps(document).encode(), "192.0.2.1")
    assert answer.document["findings"][:2] == ["token-void", "node-revoked"]
    with pytest.raises(RefusedError, match="readmit"):
        bench.token("node-2")
    bench.enrol("node-2", readmit=True)
    assert parse_watch_answer(bench.watch(node).document).revoked_chassis == ()
    for _ in range(9):
        bench.clock.at += timedelta(days=250)
        bench.keep()
    assert read_crl_state(bench.registry.state.crls_pem[0]).serials == frozenset()


def test_a_revoked_node_does_not_fill_the_log(bench: Bench) -> None:
    node, honest = bench.enrol("node-1"), bench.enrol("node-2")
    bench.clock.at = datetime(2031, 5, 23, 12, 0, tzinfo=UTC)
    key = make_key(KeyType.ECDSA_P256)
    for _ in range(20):  # nor one that asks for the same again and again
        assert bench.renew(honest, key).status == 200
    revoke(bench, "node-1")
    before = bench.store.read_audit()
    assert [entry.event for entry in before].count("issued-again") == 1
    for _ in range(300):
        assert bench.reason(bench.renew(node)) == (403, "node-revoked")
        bench.clock.at += timedelta(seconds=4)
    (first, *counts) = bench.store.read_audit()[len(before) :]
    assert (first.reason, first.chassis) == ("node-revoked", "node-1")
    assert len(counts) < 5
    bench.members._desk.write_counts(is_end=True)
    told = bench.store.read_audit()[len(before) + 1 :]
    refused = [entry.detail for entry in told if entry.reason == "node-revoked"]
    assert 1 + sum(int(detail.split()[1]) for detail in refused) == 300


def test_the_database_takes_no_revocation_back(bench: Bench) -> None:
    bench.enrol("node-1")
    revoke_node(bench.store, "node-1", Standing.REMOVED, RevocationReason.UNSPECIFIED, NOW)
    for statement in (
        "UPDATE certificates SET revoked_at = NULL",
        "UPDATE crls SET number = number - 1",
        "UPDATE trust SET generation = 1",
    ):
        with pytest.raises(GeneveilError, match="never"):
            bench.store.write_row(statement, ())


def test_lists_are_signed_anew_each_week(bench: Bench) -> None:
    numbers = []
    for _ in range(4):
        numbers.append(read_crl_state(bench.registry.state.crls_pem[0]).number)
        bench.clock.at += timedelta(days=7)
        bench.keep()
    assert numbers == [1, 2, 3, 4]


def test_of_the_lists_that_were_only_the_newest_is_remembered(bench: Bench) -> None:
    """Each has all entries: of thousands that are revoked one by one memory would have no end."""
    for _ in range(5):
        bench.clock.at += timedelta(days=7)
        bench.keep()
    assert [number for number, _ in bench.keeper._crl_states.values()] == [5]


def test_a_rollover_with_a_node_that_is_away(bench: Bench) -> None:
    node, away = bench.enrol("node-1"), bench.enrol("away")
    bench.watch(node)
    bench.seconds = 100.0  # everybody that is not heard is away now
    bench.watch(node)
    assert request_rotation(bench.store, "", bench.clock.at)
    assert not request_rotation(bench.store, "", bench.clock.at)
    assert bench.keep() is Phase.INTRODUCE
    assert bench.keep() is Phase.INTRODUCE  # the live node has not said that it trusts both
    bench.watch(node)
    assert bench.keep() is Phase.INTRODUCE
    bench.watch(node)
    assert bench.keep() is Phase.SWITCH
    told = parse_watch_answer(bench.watch(node).document)
    assert told.renew_after is not None
    assert bench.clock.at <= told.renew_after <= bench.clock.at + timedelta(days=1)
    bench.replace(node)
    bench.watch(node)
    assert bench.keep() is Phase.RETIRE
    assert (bench.state / "cluster" / "ca-1.key").exists()
    for _ in range(4):
        bench.clock.at += YEAR / 2
        assert bench.keep() is Phase.RETIRE
    bench.replace(away)  # it comes back: its old certificate is good
    bench.watch(away)
    assert bench.keep() is Phase.STEADY
    assert not (bench.state / "cluster" / "ca-1.key").exists()
    assert len(bench.registry.state.cluster.authorities) == 1
    assert bench.reason(bench.renew(away)) == (409, "renewal-too-early")


def test_a_token_that_was_made_in_the_last_phase_is_good_for_as_long_as_it_says(
    bench: Bench,
) -> None:
    away = bench.enrol("away")
    bench.seconds = 100.0
    request_rotation(bench.store, "", bench.clock.at)
    assert bench.keep() is Phase.RETIRE
    bench.clock.at += timedelta(minutes=1)
    token = bench.token("node-1")
    bench.replace(away)
    bench.watch(away)
    assert bench.keep() is Phase.RETIRE
    (authority, _) = bench.registry.state.cluster.authorities
    assert token.ca_pin == authority_pin(authority)  # it is still there to be found
    bench.clock.at += timedelta(minutes=61)
    assert bench.keep() is Phase.STEADY


def test_tokens_do_not_hold_a_roll_over_up_for_ever(bench: Bench) -> None:
    bench.seconds = 100.0
    bench.enrol("away")
    request_rotation(bench.store, "", bench.clock.at)
    assert bench.keep() is Phase.RETIRE
    revoke(bench, "away")
    for day in range(40):
        bench.token(f"node-{day}")
        if bench.keep() is Phase.STEADY:
            break
        bench.clock.at += timedelta(days=1)
    assert 29 <= day <= 31


def test_a_node_that_holds_up_a_roll_over_is_named_and_can_be_shut_out(bench: Bench) -> None:
    honest, stolen = bench.enrol("honest"), bench.enrol("stolen")
    request_rotation(bench.store, "", bench.clock.at)
    bench.keep()
    for _ in range(5):
        bench.seconds += 8.0
        bench.watch(honest)
        state = WatchState(0, (), (), stolen.serial)  # it asks, and never says that it trusts both
        body = json.dumps(watch_request_document(state)).encode()
        bench.members.begin_watch(stolen.certificate, body, bench.seconds)
        assert bench.keep() is Phase.INTRODUCE
    bench.keeper.write_confirmations()
    missing = ca_document(bench.store, bench.clock.at, is_running=True)["missing"]
    assert missing == [{"chassis": "stolen", "why": "has not said yet whom it trusts"}]
    revoke(bench, "stolen")
    assert bench.keep() is Phase.SWITCH


def test_ten_years_at_once(bench: Bench) -> None:
    node = bench.enrol("node-1")
    bench.clock.at += timedelta(days=3700)
    for _ in range(3):
        bench.seconds += 6 * 3600
        assert bench.keep() is Phase.STEADY  # a clock that leapt is not believed at once
        assert bench.registry.state.signing.authority_id == 1
    bench.seconds += 24 * 3600
    bench.clock.at += timedelta(days=1)
    assert bench.keep() is Phase.STEADY  # the old one had ended: nothing to wait for
    (authority,) = bench.registry.state.cluster.authorities
    assert authority.authority_id == 2
    assert bench.reason(bench.watch(node)) == (403, "certificate-expired")
    assert bench.watch(bench.enrol("node-2")).status == 200


def test_a_person_is_believed_about_a_clock_that_leapt(bench: Bench) -> None:
    bench.clock.at += timedelta(days=3700)
    assert bench.keep() is Phase.STEADY
    assert bench.registry.state.signing.authority_id == 1
    assert request_rotation(bench.store, "", bench.clock.at)
    bench.keep()
    assert bench.registry.state.signing.authority_id == 2


@pytest.mark.parametrize("years", [6, 10, 30])
def test_a_clock_that_comes_back_finds_everything_as_it_was(bench: Bench, years: int) -> None:
    node = bench.enrol("node-1")
    for leap in (timedelta(days=366 * years), -timedelta(days=366 * 2 * years)):
        bench.clock.at += leap
        for _ in range(5):
            bench.seconds += 1
            bench.keep()
    bench.clock.at = NOW
    bench.seconds += 1
    assert bench.keep() is Phase.STEADY
    number = read_crl_state(bench.registry.state.crls_pem[0]).number
    assert number < 5  # no list was made in vain
    assert bench.registry.state.signing.authority_id == 1
    assert bench.watch(node).status == 200
    assert (bench.state / "cluster" / "ca-1.key").exists()


def test_an_operator_that_starts_with_a_leapt_clock_believes_it_no_more(bench: Bench) -> None:
    bench.clock.at += timedelta(days=366 * 6)
    again = open_bench(bench.state, bench.clock)
    assert again.keep() is Phase.STEADY
    assert again.registry.state.signing.authority_id == 1


@pytest.mark.parametrize("days", [400, 1830, 1940, 3700])
def test_a_leap_with_a_restart_inside_is_not_believed(bench: Bench, days: int) -> None:
    bench.clock.at += timedelta(days=days)
    for _ in range(3):  # it is killed again and again, and never forgets
        again = open_bench(bench.state, bench.clock)
        for _ in range(3):
            again.seconds += 60
            assert again.keep() is Phase.STEADY
        assert again.registry.state.signing.authority_id == 1
        again.store.close()
    again = open_bench(bench.state, bench.clock)
    again.seconds += 25 * 3600  # a day was lived through
    again.keep()
    assert again.registry.state.signing.authority_id == (1 if days == 400 else 2)
    believed = (bench.state / "cluster" / FILE).read_text()
    assert believed.startswith(f"{bench.clock.at:%Y-%m-%d}")
    again.store.close()


@pytest.mark.parametrize("damage", [None, "", "soon", "2026-01-01T00:00:00"])
def test_without_the_mark_a_start_goes_by_the_authority_alone(
    bench: Bench, damage: str | None
) -> None:
    mark = bench.state / "cluster" / FILE
    assert datetime.fromisoformat(mark.read_text().strip()) == NOW
    mark.unlink()
    if damage is not None:
        mark.write_text(damage)
    bench.clock.at += timedelta(days=1940)
    again = open_bench(bench.state, bench.clock)  # its time came, and not so long ago
    again.keep()
    assert again.registry.state.signing.authority_id == 2
    again.store.close()


def test_the_mark_follows_time_day_by_day_and_back(bench: Bench) -> None:
    mark = bench.state / "cluster" / FILE
    table = [(23, 0), (2, 25), (24 * 200, 24 * 200 + 25), (-24 * 300, -24 * 100 + 25)]
    for hours, noted in table:
        bench.clock.at += timedelta(hours=hours)
        bench.keep()
        assert datetime.fromisoformat(mark.read_text().strip()) == NOW + timedelta(hours=noted)


def test_whoever_expired_is_named_a_week_later(bench: Bench) -> None:
    bench.enrol("node-1")
    for _ in range(7):
        bench.clock.at += YEAR / 2
        bench.keep()
    young = bench.enrol("node-2")
    for days in (1400, 1600, 1826 + 6):
        bench.clock.at = NOW + timedelta(days=days)
        bench.keep()
    assert parse_watch_answer(bench.watch(young).document).expired_chassis == ()
    bench.clock.at += timedelta(days=2)
    bench.keep()
    told = parse_watch_answer(bench.watch(young).document)
    assert told.expired_chassis == ("node-1",)
    assert told.settings == bench.registry.state.cluster.settings
    for _ in range(4):
        bench.keep()  # the authority's time has come as well
    before = bench.registry.state.trust.generation
    bench.keep()
    assert bench.registry.state.trust.generation == before
    bench.enrol("node-1")
    bench.keep()
    assert parse_watch_answer(bench.watch(young).document).expired_chassis == ()


def test_who_expired_long_ago_is_not_named_for_ever(bench: Bench) -> None:
    bench.enrol("node-1")
    named = []
    for _ in range(14):
        bench.clock.at += YEAR / 2
        bench.seconds += 100.0
        bench.keep()
        named.append(bench.registry.expired_chassis)
    # the authority left the bundle with the last certificate that it had made
    assert [len(one) for one in named] == [0] * 10 + [1] * 3 + [0]


def test_a_certificate_made_while_the_clock_was_years_ahead_is_renewed(bench: Bench) -> None:
    bench.clock.at += timedelta(days=200)
    node = bench.enrol("node-1")
    bench.clock.at = NOW
    bench.replace(node)
    assert bench.reason(bench.renew(node)) == (409, "renewal-too-early")


def test_years_with_everything_in_its_time(bench: Bench) -> None:
    node = bench.enrol("node-1")
    phases, ends = set(), set()
    for _ in range(12 * 4):  # a quarter of a year each
        bench.clock.at += timedelta(days=91)
        bench.seconds += 100
        for _ in range(6):
            answer = parse_watch_answer(bench.watch(node).document)
            certificate = x509.load_pem_x509_certificate(node.certificate)
            is_due = bench.clock.at > certificate.not_valid_before_utc + timedelta(days=1644)
            if answer.renew_after is not None or is_due:
                bench.replace(node)
            phases.add(bench.keep())
        ends.add(certificate.not_valid_after_utc)
        issuers = {record.certificate_pem for record in bench.registry.state.cluster.authorities}
        assert any(
            x509.load_pem_x509_certificate(pem).subject == certificate.issuer for pem in issuers
        )
    assert phases == {Phase.STEADY, Phase.INTRODUCE, Phase.SWITCH}
    assert bench.registry.state.signing.authority_id >= 3
    assert len(ends) >= 3


def test_a_step_that_fails_is_not_half_done(bench: Bench) -> None:
    node = bench.enrol("node-1")
    bench.watch(node)
    request_rotation(bench.store, "", bench.clock.at)
    seen = []
    for _ in range(8):
        _break_off(bench)
        seen.append(bench.keep())
        if parse_watch_answer(bench.watch(node).document).renew_after is not None:
            bench.replace(node)
        bench.watch(node)
    assert seen[-1] is Phase.STEADY
    assert {Phase.INTRODUCE, Phase.SWITCH} <= set(seen)
    assert [one.authority_id for one in bench.registry.state.cluster.authorities] == [2]


class BreaksOff:
    """A connection to the database that fails once, at one of the statements that change it."""

    def __init__(self, inner: Any, at: int) -> None:
        self._inner = inner
        self.left = at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def execute(self, statement: str, *values: Any) -> Any:
        if not statement.startswith(("SELECT", "PRAGMA", "ROLLBACK")):
            self.left -= 1
            if self.left == -1:
                raise sqlite3.OperationalError("database or disk is full")
        return self._inner.execute(statement, *values)


def test_wherever_a_step_fails_the_next_look_makes_it_good(tmp_path: Path) -> None:
    at, is_through = 0, False
    while not is_through:
        bench = make_bench(tmp_path / str(at))
        bench.enrol("node-1")
        bench.seconds = 100.0  # it is away
        request_rotation(bench.store, "", bench.clock.at)
        failing = BreaksOff(bench.store._db, at)
        bench.store._db = failing  # type: ignore[assignment]
        try:
            bench.keep()
            is_through = True
        except GeneveilError:
            assert not bench.store.is_in_transaction
        failing.left = -1  # it goes well from here on
        assert bench.keep() is Phase.RETIRE
        *_, signing = authorities = bench.registry.state.cluster.authorities
        assert signing.is_signing
        assert len(authorities) == len(bench.registry.state.crls) == 2
        for authority, crl in zip(authorities, bench.registry.state.crls, strict=True):
            key = x509.load_pem_x509_certificate(authority.certificate_pem).public_key()
            assert x509.load_pem_x509_crl(crl.crl_pem).is_signature_valid(key)  # type: ignore[arg-type]
        node = x509.load_pem_x509_certificate(bench.enrol("node-2").certificate)
        node.verify_directly_issued_by(x509.load_pem_x509_certificate(signing.certificate_pem))
        records = bench.store.read_certificates()
        assert check_chain(bench.store.read_audit(), (one.serial for one in records)) == ()
        bench.store.close()
        at += 1
    assert at > 20  # of the three steps, each statement and each COMMIT


def _break_off(bench: Bench) -> None:
    """Stop the next transaction at its end, and start another operator on what is there."""
    before = bench.registry.tables.read()
    original = bench.store.append_audit

    def fail(*arguments: Any) -> Any:
        original(*arguments)
        raise GeneveilError("broken off")

    bench.store.append_audit = fail  # type: ignore[method-assign, assignment]
    try:
        bench.keep()
    except GeneveilError:
        assert bench.registry.tables.read() == before
    finally:
        bench.store.append_audit = original  # type: ignore[method-assign]
    again = open_bench(bench.state, bench.clock)
    again.store.close()
    bench.registry.refresh()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, Node]]:
    made = make_bench(tmp_path_factory.mktemp("operator") / "state")
    yield made, made.enrol("node-1")
    made.store.close()


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NEAR_MISSES = st.fixed_dictionaries(
    {},
    optional={
        "generation": JSON_VALUES,
        "trusts": JSON_VALUES | st.lists(st.just("a" * 64)),
        "crls": JSON_VALUES | st.dictionaries(st.just("a" * 64), JSON_VALUES),
        "certificate": JSON_VALUES | st.just("0" * 40),
        "inUse": JSON_VALUES,
        "csr": JSON_VALUES,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    body=st.binary(max_size=200)
    | (JSON_VALUES | NEAR_MISSES).map(lambda value: json.dumps(value).encode())
)
def test_arbitrary_bodies_change_nothing(shared: tuple[Bench, Node], body: bytes) -> None:
    bench, node = shared
    before = bench.store.read_certificates()
    for answer in (
        bench.members.begin_watch(node.certificate, body, 0.0),
        bench.members.renew(node.certificate, body, "192.0.2.1"),
    ):
        assert isinstance(answer, Answer)
        assert answer.status in (400, 422, 409)
        assert answer.document["message"].isascii()
    assert bench.store.read_certificates() == before


def test_the_servers_certificate_follows_a_clock_that_jumps(bench: Bench) -> None:
    process = OperatorProcess(bench.state, bench.store, bench.clock)
    assert process.renew_server_file()
    for years in (0, 1, 4):
        bench.clock.at += years * YEAR
        assert process.renew_server_file() is (years > 0)
        assert not process.renew_server_file()
    newest = bench.store.read_certificates()[-1]
    assert newest.not_before < bench.clock.at < newest.not_after
