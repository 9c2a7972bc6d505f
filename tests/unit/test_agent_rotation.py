"""Watch, CRLs, renewal and the switch of certificates as values and files."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from geneveil.agent.rotation.crls import merge_crls, parse_crls
from geneveil.agent.rotation.files import finish_switch, put_away, read_situation
from geneveil.agent.rotation.io import has_settings, keep_certificate, prepare_request
from geneveil.agent.rotation.renewal import (
    NEEDS_TOKEN,
    SHUT_OUT_SECONDS,
    Situation,
    judge_renewal,
    judge_watch,
    must_renew,
    needs_token,
    pause_after,
)
from geneveil.agent.rotation.watch import (
    WatchRecord,
    encode_record,
    fingerprints,
    judge_answer,
    parse_dropped,
    parse_record,
)
from geneveil.agent.store import (
    CERTIFICATE,
    KEY,
    PENDING_CERTIFICATE,
    PENDING_KEY,
    PENDING_REQUEST,
    REPLACED_CERTIFICATE,
    REPLACED_KEY,
    SETTINGS,
    TRUST_BUNDLE,
    WATCH,
    NodeStore,
)
from geneveil.agent.trust import TrustFiles, judge_trust
from geneveil.enroll.port import WatchAnswer
from geneveil.model.cluster import CalendarSpan, ClusterSettings, KeyType
from geneveil.model.errors import OperatorUnreachableError, RefusedError, TrustError
from geneveil.model.health import Severity
from geneveil.model.node_status import CertificateStatus
from geneveil.pki.authority import (
    Authority,
    encode_certificate,
    make_authority,
    serial_text,
    sign_node,
)
from geneveil.pki.crl import RevocationReason, RevokedCertificate, encode_crl, make_crl
from geneveil.pki.keyfiles import NamedBytes, parse_bundle
from geneveil.pki.keys import encode_key, key_type_of, make_key

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SERIAL = bytes(range(1, 21))


def authority(number: int) -> Authority:
    key = make_key(KeyType.ECDSA_P256)
    return make_authority("prod", key, CalendarSpan(120), NOW, bytes([number] * 20))


OLD, NEW = authority(1), authority(2)
NODE_KEY = make_key(KeyType.ECDSA_P256)
LEAF = sign_node(OLD, NODE_KEY.public_key(), "node1", "prod", CalendarSpan(60), NOW, SERIAL)
LEAF_PEM = encode_certificate(LEAF)
OLD_PEM, NEW_PEM = encode_certificate(OLD.certificate), encode_certificate(NEW.certificate)


def sha(certificate: x509.Certificate) -> str:
    (only,) = fingerprints(parse_bundle(NamedBytes("x", encode_certificate(certificate))))
    return only


def crl(of: Authority, number: int, *serials: str) -> bytes:
    entries = [
        RevokedCertificate(serial, NOW, NOW + timedelta(days=9), RevocationReason.KEY_COMPROMISE)
        for serial in serials
    ]
    return encode_crl(make_crl(of, number, entries, NOW))


def answer(bundle: bytes, *crls: bytes, revoked: tuple[str, ...] = ()) -> WatchAnswer:
    return WatchAnswer(7, bundle, crls, revoked, sha(OLD.certificate), None, 0.0)


def test_only_who_uses_an_unknown_certificate_is_to_ask_for_another() -> None:
    for reissue, expected in {
        (serial_text(LEAF.serial_number), "cd" * 20): serial_text(LEAF.serial_number),
        ("cd" * 20,): "",
        (): "",
    }.items():
        said = replace(answer(OLD_PEM), reissue=reissue)
        update = judge_answer(said, LEAF_PEM, OLD_PEM, None, None, NOW)
        assert parse_record(update.record).reissue == expected


def test_what_a_watch_brings_is_kept_and_what_was_dropped_is_remembered() -> None:
    said = answer(OLD_PEM + NEW_PEM, crl(OLD, 3, "1b" * 20), revoked=("node9",))
    first = judge_answer(said, LEAF_PEM, OLD_PEM, None, None, NOW)
    assert first.bundle == OLD_PEM + NEW_PEM
    assert first.dropped is None
    record = parse_record(first.record)
    assert (record.generation, record.revoked_chassis) == (7, frozenset({"node9"}))
    assert record.heard_at == NOW
    again = judge_answer(said, LEAF_PEM, OLD_PEM + NEW_PEM, first.crls, None, NOW)
    assert (again.bundle, again.crls, again.dropped) == (None, None, None)
    fresh = encode_certificate(
        sign_node(NEW, NODE_KEY.public_key(), "node1", "prod", CalendarSpan(60), NOW, SERIAL)
    )
    last = judge_answer(answer(NEW_PEM), fresh, OLD_PEM + NEW_PEM, first.crls, None, NOW)
    assert parse_dropped(last.dropped) == {sha(OLD.certificate)}
    assert last.crls == b""  # its authority is gone, and so is the list


def test_a_bundle_that_would_end_this_nodes_traffic_is_refused() -> None:
    with pytest.raises(TrustError, match="lacks the authority"):
        judge_answer(answer(NEW_PEM), LEAF_PEM, OLD_PEM, None, None, NOW)


def test_a_revocation_is_not_taken_back_by_an_older_list() -> None:
    held = crl(OLD, 5, "1b" * 20)
    update = judge_answer(answer(OLD_PEM, crl(OLD, 4)), LEAF_PEM, OLD_PEM, held, None, NOW)
    assert update.crls is None
    bundle = parse_bundle(NamedBytes("b", OLD_PEM))
    (kept,) = merge_crls(parse_crls(held, bundle, "x"), parse_crls(crl(OLD, 6), bundle, "x"))
    assert kept.number == 6


def test_a_file_of_lists_that_is_damaged_heals_from_the_next_answer() -> None:
    """What is whole in it is kept; the operator has the rest."""
    bundle = OLD_PEM + NEW_PEM
    held = crl(OLD, 5, "1b" * 20) + crl(NEW, 3)[:-20]
    said = answer(bundle, crl(OLD, 4), crl(NEW, 3))
    update = judge_answer(said, LEAF_PEM, bundle, held, None, NOW)
    assert update.crls is not None
    healed = parse_crls(update.crls, parse_bundle(NamedBytes("b", bundle)), "crls.pem")
    assert {c.authority: c.number for c in healed} == {
        sha(OLD.certificate): 5,
        sha(NEW.certificate): 3,
    }
    for data in (b"garbage", crl(OLD, 1)[:-20], forged()):
        again = judge_answer(answer(OLD_PEM, crl(OLD, 6)), LEAF_PEM, OLD_PEM, data, None, NOW)
        assert again.crls == crl(OLD, 6)


def test_a_damaged_record_stops_no_renewal_and_is_not_taken_for_an_empty_one(
    tmp_path: Path,
) -> None:
    store, fresh = NodeStore(tmp_path), make_key(KeyType.ECDSA_P256)
    leaf = sign_node(NEW, fresh.public_key(), "node1", "prod", CalendarSpan(60), NOW, SERIAL)
    store.write(TRUST_BUNDLE, OLD_PEM)
    store.write(WATCH, b"{")
    parts = (encode_key(fresh), encode_certificate(leaf), NEW_PEM)
    keep_certificate(store, "node1", parts, ClusterSettings(), Clock())
    assert store.has(PENDING_CERTIFICATE)
    assert store.read(WATCH) == b"{"


class Clock:
    """Stands still."""

    def now(self) -> datetime:
        return NOW


def forged() -> bytes:
    """A list that names the old authority and is signed by another."""
    false = replace(OLD, key=NEW.key)
    return encode_crl(make_crl(false, 9, [], NOW))


BAD_LISTS = {
    "forged": (forged(), "signature is wrong"),
    "garbage": (b"garbage", "is no CRL"),
    "truncated": (crl(OLD, 1)[:-20], "is no CRL"),
    "another kind": (OLD_PEM, "is no CRL"),
    "broken": (b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "cannot be read"),
}


@pytest.mark.parametrize(("data", "complaint"), BAD_LISTS.values(), ids=BAD_LISTS.keys())
def test_a_list_that_is_not_one_is_an_error_and_not_one_list_less(
    data: bytes, complaint: str
) -> None:
    bundle = parse_bundle(NamedBytes("b", OLD_PEM + NEW_PEM))
    with pytest.raises(TrustError, match=complaint):
        parse_crls(data, bundle, "crls.pem")


def test_a_list_of_an_authority_that_is_not_believed_is_left_out() -> None:
    bundle = parse_bundle(NamedBytes("b", OLD_PEM))
    assert [c.number for c in parse_crls(crl(NEW, 1) + crl(OLD, 2), bundle, "x")] == [2]


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"generation": "x"}', b"\xff"])
def test_a_damaged_record_is_named(data: bytes) -> None:
    with pytest.raises(TrustError, match=r"watch\.json is damaged"):
        parse_record(data)
    assert parse_record(None) == WatchRecord()
    record = WatchRecord(3, frozenset({"a"}), "ab", NOW, NOW)
    assert parse_record(encode_record(record)) == record


CERT = CertificateStatus("node1", "00", "f", "CN=x", NOW, NOW + timedelta(days=1826), NOW)
DUE = replace(CERT, renew_at=NOW + timedelta(days=1650))
ROLLING = WatchRecord(renew_from="new", renew_after=NOW + timedelta(days=10))

TIMES = {
    "young": (DUE, WatchRecord(), 100, False),
    "due": (DUE, WatchRecord(), 1650, True),
    "at its last moment": (DUE, WatchRecord(), 1825, True),
    "ended": (DUE, WatchRecord(), 1826, False),
    "before the wave": (DUE, ROLLING, 9, False),
    "in the wave": (DUE, ROLLING, 10, True),
    "a clock that is a little behind": (DUE, WatchRecord(), -0.5, False),
    "made while a clock was years ahead": (DUE, WatchRecord(), -400, True),
    "rolled over already": (DUE, replace(ROLLING, renew_from="old"), 10, False),
    "not known to the operator": (DUE, WatchRecord(reissue=DUE.serial), 1, True),
    "one before was not known": (DUE, WatchRecord(reissue="01"), 1, False),
}


@pytest.mark.parametrize(("status", "record", "day", "due"), TIMES.values(), ids=TIMES.keys())
def test_when_to_renew(
    status: CertificateStatus, record: WatchRecord, day: float, due: bool
) -> None:
    assert must_renew(status, "old", record, NOW + timedelta(days=day)) is due


def test_a_node_that_is_shut_out_does_not_ask() -> None:
    due = NOW + timedelta(days=1650)
    assert must_renew(DUE, "old", WatchRecord(), due)
    assert not must_renew(DUE, "old", WatchRecord(), due, is_shut_out=True)
    assert not must_renew(DUE, "old", ROLLING, due, is_shut_out=True)


@pytest.mark.parametrize("reason", ["node-revoked", "certificate-revoked"])
def test_whoever_is_shut_out_asks_seldom(reason: str) -> None:
    for attempts in (1, 99):
        pause = pause_after(RefusedError(reason, "no"), "watch node1", attempts)
        assert SHUT_OUT_SECONDS <= pause <= 1.5 * SHUT_OUT_SECONDS
    assert pause_after(AWAY, "watch node1", 99) < 100
    # Clocks may be set right, a backup be found: that shall be noticed soon.
    assert pause_after(RefusedError("certificate-expired", "no"), "watch node1", 99) < 100


AWAY = OperatorUnreachableError("the operator does not answer", why="timed out")
LOUDNESS = {
    "not due": (None, False, 1650, []),
    "due": (None, True, 1650, []),
    "failing early": (AWAY, True, 1650, [("renewal-failing", Severity.INFO)]),
    "near the end": (None, True, 1797, [("renewal-due", Severity.WARNING)]),
    "failing near the end": (AWAY, True, 1797, [("renewal-failing", Severity.WARNING)]),
    "revoked": (
        RefusedError("node-revoked", "no"), True, 1650, [("node-revoked", Severity.ERROR)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("failure", "due", "day", "said"), LOUDNESS.values(), ids=LOUDNESS.keys())
def test_the_nearer_the_end_the_louder(
    failure: OperatorUnreachableError | RefusedError | None,
    due: bool,
    day: int,
    said: list[tuple[str, Severity]],
) -> None:
    findings = judge_renewal(CERT, failure, due, NOW + timedelta(days=day))
    assert [(f.code, f.severity) for f in findings] == said


def test_a_silent_operator_is_worth_a_word_after_a_while_and_a_refusal_at_once() -> None:
    heard = WatchRecord(heard_at=NOW)
    assert judge_watch(heard, AWAY, NOW + timedelta(minutes=5)) == []
    (silent,) = judge_watch(heard, AWAY, NOW + timedelta(days=3))
    assert (silent.code, silent.severity) == ("operator-silent", Severity.INFO)
    (refused,) = judge_watch(heard, RefusedError("certificate-revoked", "no"), NOW)
    assert refused.severity is Severity.ERROR
    assert "geneveil operator token" in refused.remedy
    assert judge_watch(heard, None, NOW + timedelta(days=3)) == []


FILES = TrustFiles(encode_key(NODE_KEY), LEAF_PEM, OLD_PEM)


def test_a_node_that_stands_on_a_list_uses_its_certificate_no_more() -> None:
    serial = f"{LEAF.serial_number:040x}"
    revoked = replace(FILES, crls=crl(OLD, 1, serial))
    trust = judge_trust(revoked, "node1", ClusterSettings(), NOW)
    assert trust.identity is None
    assert [f.code for f in trust.findings] == ["certificate-revoked"]
    other = replace(FILES, crls=crl(OLD, 1, "1b" * 20))
    assert judge_trust(other, "node1", ClusterSettings(), NOW).identity is not None


def test_lists_that_cannot_be_read_are_named_and_the_identity_stays() -> None:
    trust = judge_trust(replace(FILES, crls=b"x"), "node1", ClusterSettings(), NOW)
    assert [f.code for f in trust.findings] == ["crls-unusable"]
    assert trust.identity is not None


OLD_FILES = {KEY: b"old key", CERTIFICATE: b"old crt"}
COMING = {PENDING_KEY: b"new key", PENDING_REQUEST: b"csr", PENDING_CERTIFICATE: b"new crt"}
AFTER = {
    KEY: b"new key",
    CERTIFICATE: b"new crt",
    REPLACED_KEY: b"old key",
    REPLACED_CERTIFICATE: b"old crt",
}


def contents(store: NodeStore) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.directory.iterdir()}


class Crash(Exception):
    """The power went."""


class Failing(NodeStore):
    """A store whose power goes after so many changes."""

    left = 0

    def _step(self) -> None:
        if self.left == 0:
            raise Crash
        self.left -= 1

    def write(self, name: str, data: bytes) -> None:
        self._step()
        super().write(name, data)

    def link(self, name: str, other: str) -> None:
        self._step()
        super().link(name, other)

    def remove(self, name: str) -> None:
        self._step()
        super().remove(name)


@pytest.mark.parametrize("steps", range(8))
def test_a_switch_that_was_cut_off_anywhere_ends_the_same(tmp_path: Path, steps: int) -> None:
    failing, store = Failing(tmp_path), NodeStore(tmp_path)
    for name, data in (OLD_FILES | COMING).items():
        store.write(name, data)
    failing.left = steps
    if steps < 7:
        with pytest.raises(Crash):
            finish_switch(failing, is_urgent=False)
    while finish_switch(store, is_urgent=False):
        pass
    store.remove(PENDING_REQUEST)
    assert contents(store) == AFTER
    assert read_situation(store) == Situation(has_pending=False, has_replaced=True)
    put_away(store)
    assert contents(store) == {KEY: b"new key", CERTIFICATE: b"new crt"}


def test_the_next_switch_waits_for_the_one_before(tmp_path: Path) -> None:
    store = NodeStore(tmp_path)
    for name, data in (AFTER | {PENDING_KEY: b"third", PENDING_CERTIFICATE: b"third crt"}).items():
        store.write(name, data)
    assert finish_switch(store, is_urgent=False) is False
    assert (store.read(KEY), store.read(REPLACED_KEY)) == (b"new key", b"old key")
    assert finish_switch(store, is_urgent=True) is True
    assert (store.read(KEY), store.read(REPLACED_KEY)) == (b"third", b"new key")


def test_of_a_key_that_was_replaced_nothing_is_left_and_none_was_copied(tmp_path: Path) -> None:
    store = NodeStore(tmp_path)
    for name, data in (OLD_FILES | COMING).items():
        store.write(name, data)
    with (tmp_path / KEY).open("rb") as old, (tmp_path / PENDING_KEY).open("rb") as new:
        finish_switch(store, is_urgent=False)
        store.write(PENDING_KEY, b"third")
        store.write(PENDING_CERTIFICATE, b"third crt")
        finish_switch(store, is_urgent=True)
        assert old.read() == bytes(len(b"old key"))
        put_away(store)
        assert new.read() == bytes(len(b"new key"))
    assert contents(store) == {KEY: b"third", CERTIFICATE: b"third crt"}


def test_a_key_that_has_another_name_is_not_destroyed_under_it(tmp_path: Path) -> None:
    """The power went before the new key was in its place, and then the new one was lost."""
    store = NodeStore(tmp_path)
    store.write(KEY, b"old key")
    (tmp_path / f".{REPLACED_KEY}.new").write_bytes(b"cut short")
    store.link(KEY, REPLACED_KEY)
    store.link(KEY, REPLACED_KEY)
    assert contents(store) == {KEY: b"old key", REPLACED_KEY: b"old key"}
    put_away(store)
    assert contents(store) == {KEY: b"old key"}
    with pytest.raises(TrustError, match="cannot be renamed"):
        store.link(PENDING_KEY, KEY)
    assert contents(store) == {KEY: b"old key"}


def test_charon_knows_the_replaced_key_by_the_id_that_is_asked_for() -> None:
    fresh = make_key(KeyType.ECDSA_P256)
    leaf = sign_node(OLD, fresh.public_key(), "node1", "prod", CalendarSpan(60), NOW, SERIAL)
    files = replace(
        FILES,
        key=encode_key(fresh),
        certificate=encode_certificate(leaf),
        replaced_key=FILES.key,
        replaced_certificate=LEAF_PEM,
    )
    identity = judge_trust(files, "node1", ClusterSettings(), NOW).identity
    assert identity is not None
    extension = LEAF.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert identity.retiring_key_id == extension.value.digest.hex()
    der = serialization.Encoding.DER
    assert identity.certificate_der == leaf.public_bytes(der)


@pytest.mark.parametrize("damage", [b"", b"{}", b"x"])
def test_a_key_is_made_while_the_settings_are_lost(tmp_path: Path, damage: bytes) -> None:
    """Of the kind that the certificate in use has: the operator took it once."""
    store = NodeStore(tmp_path)
    key = make_key(KeyType.ECDSA_P384)
    leaf = sign_node(OLD, key.public_key(), "node1", "prod", CalendarSpan(60), NOW, SERIAL)
    store.write(CERTIFICATE, encode_certificate(leaf))
    store.write(SETTINGS, damage)
    assert not has_settings(store)
    pem, request = prepare_request(store, "node1")
    made = serialization.load_pem_private_key(pem, None)
    assert isinstance(made, ec.EllipticCurvePrivateKey)
    assert made.key_size == 384
    assert prepare_request(store, "node1") == (pem, request)


@pytest.mark.parametrize("key_type", KeyType)
def test_the_kind_of_a_key_is_told(key_type: KeyType) -> None:
    assert key_type_of(make_key(key_type).public_key()) is key_type


def test_a_record_of_an_earlier_version_is_read() -> None:
    record = WatchRecord(3, expired_chassis=frozenset({"node9"}), reissue="00" * 20)
    assert parse_record(encode_record(record)) == record
    document = json.loads(encode_record(record))
    del document["expiredChassis"], document["reissue"]
    assert parse_record(json.dumps(document).encode()) == WatchRecord(3)


@pytest.mark.parametrize("reason", sorted(NEEDS_TOKEN))
def test_the_token_of_a_revoked_node_is_one_that_the_operator_makes(reason: str) -> None:
    """Without --readmit it makes none for such a node; with it, none for any other."""
    assert ("--readmit" in needs_token(RefusedError(reason, "")).remedy) is (
        reason == "node-revoked"
    )
