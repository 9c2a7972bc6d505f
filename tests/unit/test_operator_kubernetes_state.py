"""Rows as objects, the store that writes them through, the Lease, the switch, the restoration."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from geneveil.agent.kube.news import parse_news
from geneveil.enroll.port import WatchState
from geneveil.kube.csr_wire import SigningRequest, parse_signing_request
from geneveil.kube.errors import ApiUnavailableError, ConflictError, MissingError
from geneveil.kube.kinds import CONFIG_MAPS, LEASES
from geneveil.kube.port import Document
from geneveil.model.errors import DaemonError, TrustError
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.config_check import parse_config
from geneveil.operator.kubernetes.caretaker import find_old_requests
from geneveil.operator.kubernetes.election import (
    LEASE_NAME,
    LEASE_SECONDS,
    LeaseRecord,
    Sighting,
    Step,
    decide_step,
    is_rewound,
    lease_document,
    read_lease,
    see,
)
from geneveil.operator.kubernetes.elector.loop import Elector
from geneveil.operator.kubernetes.ledger import (
    AUDIT,
    CERTIFICATES,
    LOG_CONFIG_MAP,
    Binding,
    ChassisLedger,
    ledger_document,
    parse_ledger,
    parse_log,
    parse_state,
)
from geneveil.operator.kubernetes.publication import trust_document
from geneveil.operator.kubernetes.requested_rotation import find_request
from geneveil.operator.kubernetes.restoration import (
    MOST_BELIEVED,
    choose_reissue,
    explain_restoration,
    find_strangers,
)
from geneveil.operator.kubernetes.store import KubeStore, Place, load_store
from geneveil.operator.kubernetes.switch import (
    judge_switch,
    restored_document,
)
from geneveil.operator.records import NodeRecord, Standing
from geneveil.operator.registry import read_trust_state
from geneveil.operator.seal import make_seal
from geneveil.operator.sealing import seal_cluster
from geneveil.operator.trust_tables import CrlRecord, TrustTables
from tests.memory_kube_api import Memory

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CONFIG = parse_config(
    "{apiVersion: geneveil.io/v1alpha1, kind: ClusterIPsec, metadata: {name: cluster},"
    " spec: {mode: Full}}",
    "cluster.yaml",
)


class Fixed:
    def now(self) -> datetime:
        return NOW


@pytest.fixture
def memory() -> Memory:
    return Memory()


def _sealed(memory: Memory) -> KubeStore:
    store = KubeStore(Place(memory, "n"), Fixed())
    assert store.load() is False
    seal_cluster(store, CONFIG, NOW, lambda size: b"\x07" * size, store.stage_key)
    return store


def _loaded(memory: Memory) -> KubeStore:
    store = load_store(Place(memory, "n"), Fixed())
    assert store is not None
    return store


def test_what_was_sealed_is_read_back(memory: Memory) -> None:
    first = _sealed(memory)
    assert memory.writes == ["geneveil-ca"]
    second = _loaded(memory)
    assert second.read_seal() == first.read_seal()
    assert second.read_authorities() == first.read_authorities()
    assert second.keys == first.keys
    assert TrustTables(second).read() == TrustTables(first).read()


def test_what_is_published_is_what_an_agent_reads(memory: Memory) -> None:
    store = _sealed(memory)
    state = read_trust_state(store, NOW)
    news = parse_news(trust_document(state, "n", ("node-4", "node-9")))
    assert news.answer.generation == state.trust.generation
    assert news.answer.trust_bundle_pem == state.cluster.trust_bundle_pem
    assert news.answer.expired_chassis == ("node-4", "node-9")
    assert news.settings == state.cluster.settings
    assert news.wave is None
    assert news.answer.reissue == ()
    lost = parse_news(trust_document(state, "n", (), ("00" * 20, "01" * 20)))
    assert lost.answer.reissue == ("00" * 20, "01" * 20)


def test_keys_are_in_the_secret_alone_and_not_shown(memory: Memory) -> None:
    store = _sealed(memory)
    state = parse_state(memory.objects["secrets", "geneveil-ca"])
    assert state.keys == store.keys
    assert "PRIVATE" not in repr(state)
    texts = json.dumps([one for (plural, _), one in memory.objects.items() if plural != "secrets"])
    assert "PRIVATE" not in texts


def test_only_objects_that_changed_are_written(memory: Memory) -> None:
    store = _sealed(memory)
    tables = TrustTables(store)
    memory.writes.clear()
    with store.transaction():
        tables.put_node(NodeRecord("a", Standing.REVOKED, "unspecified", NOW))
    assert len(memory.writes) == 1
    assert memory.writes[0].startswith("geneveil-ledger-")
    with store.transaction():
        tables.read()
    assert len(memory.writes) == 1
    with store.transaction():
        tables.bump()
    assert memory.writes[1:] == ["geneveil-ca"]
    assert TrustTables(_loaded(memory)).find_node("a") is not None


def test_a_second_leader_is_met_by_a_conflict(memory: Memory) -> None:
    old = _sealed(memory)
    new = _loaded(memory)
    with new.transaction():
        TrustTables(new).bump()
    with pytest.raises(ConflictError), old.transaction():
        TrustTables(old).bump()
    assert old.is_stale
    assert TrustTables(old).read_generation() == 1  # rolled back
    with pytest.raises(DaemonError), old.transaction():
        TrustTables(old).bump()
    assert TrustTables(_loaded(memory)).read_generation() == 2


def _write_another_log(memory: Memory) -> None:
    memory.replace(CONFIG_MAPS, memory.read(CONFIG_MAPS, LOG_CONFIG_MAP))


def _take_the_log_away(memory: Memory) -> None:
    memory.delete(CONFIG_MAPS, LOG_CONFIG_MAP)


@pytest.mark.parametrize("meddle", [_write_another_log, _take_the_log_away])
def test_a_log_that_is_not_as_it_was_read_has_all_read_anew(
    memory: Memory, meddle: Callable[[Memory], None]
) -> None:
    store = _sealed(memory)
    store.write_log()
    meddle(memory)
    with store.transaction():
        store.append_audit(AuditEvent(Event.REFUSED, chassis="a"), NOW)
    with pytest.raises((ConflictError, MissingError)):
        store.write_log()
    assert store.is_stale
    written = len(memory.writes)
    store.write_log()  # it is not tried again and again
    assert len(memory.writes) == written
    anew = load_store(Place(memory, "n"), Fixed())
    assert anew is not None
    with anew.transaction():
        anew.append_audit(AuditEvent(Event.REFUSED, chassis="b"), NOW)
    anew.write_log()
    found = parse_log(memory.read(CONFIG_MAPS, LOG_CONFIG_MAP))
    assert [row[AUDIT.index("chassis")] for row in found][-1] == "b"
    anew.close()


def test_a_write_that_fails_is_not_believed(memory: Memory) -> None:
    store = _sealed(memory)
    memory.fail_after = len(memory.writes)
    with pytest.raises(ApiUnavailableError), store.transaction():
        TrustTables(store).bump()
    assert TrustTables(store).read_generation() == 1
    assert store.is_stale


def test_a_store_that_leads_no_more_writes_nothing(memory: Memory) -> None:
    _sealed(memory)
    store = load_store(Place(memory, "n", may_write=lambda: False), Fixed())
    assert store is not None
    writes = list(memory.writes)
    with pytest.raises(DaemonError, match="leads no more"), store.transaction():
        TrustTables(store).bump()
    assert memory.writes == writes


def test_ledgers_without_their_authority_are_an_error(memory: Memory) -> None:
    store = _sealed(memory)
    with store.transaction():
        TrustTables(store).put_node(NodeRecord("a", Standing.REVOKED, "unspecified", NOW))
    del memory.objects["secrets", "geneveil-ca"]
    with pytest.raises(TrustError, match="geneveil-ca is gone"):
        load_store(Place(memory, "n"), Fixed())


def test_ledgers_that_are_newer_than_the_secret_are_named(memory: Memory) -> None:
    """As after a Secret was restored from before a roll-over."""
    _sealed(memory)
    row = _row(NOW, authority_id=2)
    memory.create(CONFIG_MAPS, ledger_document(ChassisLedger("a", None, (row,), None), "n"))
    with pytest.raises(TrustError, match="older than the ledgers") as raised:
        load_store(Place(memory, "n"), Fixed())
    assert "a has a certificate of authority 2" in raised.value.render()


def _row(not_after: datetime, authority_id: int = 1) -> tuple[Any, ...]:
    values = {
        "serial": "0" * 40,
        "kind": "node",
        "chassis": "a",
        "authority_id": authority_id,
        "certificate_pem": b"PEM",
        "key_sha256": b"\x01\x02",
        "issued_at": 1,
        "not_before": 1,
        "not_after": int(not_after.timestamp()),
        "revoked_at": None,
        "revocation_reason": "",
        "csr_sha256": b"\x03",
        "predecessor": "",
    }
    return tuple(values[name] for name in CERTIFICATES)


def test_a_ledger_comes_back() -> None:
    ledger = ChassisLedger("a", Binding("node", "uid"), (_row(NOW),), ("a", "revoked", "x", 5))
    assert parse_ledger(ledger_document(ledger, "n")) == ledger


@pytest.mark.parametrize(
    "change",
    [
        {"chassis": "b"},
        {"certificates": [{"serial": "x"}]},
        {"certificates": [{**dict.fromkeys(CERTIFICATES, ""), "certificate_pem": None}]},
        {"standing": {"chassis": "a"}},
        {"node": None, "nodeUID": ["x"], "certificates": 3},
    ],
)
def test_a_ledger_that_makes_no_sense_is_an_error(change: dict[str, Any]) -> None:
    document = ledger_document(ChassisLedger("a", None, (_row(NOW),), None), "n")
    content = json.loads(document["data"]["ledger.json"])
    document["data"]["ledger.json"] = json.dumps({**content, **change})
    with pytest.raises(TrustError, match="can't be read"):
        parse_ledger(document)


def _lease(holder: str, renewed: str = "1") -> LeaseRecord:
    return LeaseRecord(holder, renewed, LEASE_SECONDS, 0, "1")


STEPS: dict[str, tuple[LeaseRecord | None, float, Step]] = {
    "there is none": (None, 0, Step.CREATE),
    "it is ours": (_lease("me"), 100, Step.RENEW),
    "it was given up": (_lease(""), 0, Step.TAKE),
    "another has it": (_lease("you"), LEASE_SECONDS, Step.STAND_BY),
    "another had it": (_lease("you"), LEASE_SECONDS + 0.1, Step.TAKE),
}


@pytest.mark.parametrize("case", STEPS)
def test_who_leads(case: str) -> None:
    record, age_seconds, expected = STEPS[case]
    assert decide_step(Sighting(record, 50.0), "me", 50.0 + age_seconds) is expected


REWOUND = {
    "does not lead yet": ("then", (), False),
    "as it was written": ("then", ("then",), False),
    "an answer was lost, and it was written": ("now", ("then", "now"), False),
    "an answer was lost, and it was not written": ("then", ("then", "now"), False),
    "an older one": ("before", ("then",), True),
    "none any more": (None, ("then",), True),
}


@pytest.mark.parametrize("case", REWOUND)
def test_what_shows_an_older_memory(case: str) -> None:
    renewed, written, expected = REWOUND[case]
    record = None if renewed is None else _lease("me", renewed)
    assert is_rewound(record, frozenset(written)) is expected


def test_a_lease_counts_from_when_it_was_first_seen_so() -> None:
    first = see(None, _lease("you", "1"), 10.0)
    assert see(first, _lease("you", "1"), 20.0).since_seconds == 10.0
    assert see(first, _lease("you", "2"), 20.0).since_seconds == 20.0


def test_a_lease_comes_back() -> None:
    document = lease_document(_lease("you"), "me", "n", NOW)
    assert document["metadata"]["resourceVersion"] == "1"
    document["metadata"]["resourceVersion"] = "2"
    record = read_lease(document)
    assert (record.holder, record.transitions, record.duration_seconds) == ("me", 1, LEASE_SECONDS)
    given_up = lease_document(record, "", "n", NOW)
    given_up["metadata"]["resourceVersion"] = "3"
    assert read_lease(given_up).holder == ""


def test_the_switch_is_compared_with_the_seal() -> None:
    seal = make_seal(CONFIG)
    document: Document = {"metadata": {"name": "cluster"}, "spec": {"mode": "Full"}}
    assert judge_switch(document, seal) is None
    off = judge_switch({**document, "spec": {"mode": "Disabled"}}, seal)
    assert off is not None
    assert off.reason == "SwitchChanged"
    assert "spec.mode stays Full" in off.message
    gone = judge_switch(None, seal)
    assert gone is not None
    assert gone.reason == "SwitchDeleted"
    again = restored_document(seal, "2026-05-01T12:00:00Z")
    told = judge_switch(again, seal)
    assert told is not None
    assert told.reason == "SwitchWasDeleted"
    nonsense = judge_switch({**document, "spec": {"mode": "full"}}, seal)
    assert nonsense is not None
    assert nonsense.reason == "SwitchUnreadable"


def _said(generation: int, crls: tuple[tuple[str, int], ...] = ()) -> list[tuple[str, WatchState]]:
    return [("node", WatchState(generation, (), crls, ""))]


RESTORED = {
    "as it should be": (_said(5, (("ca", 3),)), False),
    "behind": (_said(4, (("ca", 2),)), False),
    "a generation ahead": (_said(6), True),
    "a list ahead": (_said(5, (("ca", 4),)), True),
    "a list of a stranger": (_said(5, (("other", 9),)), False),
    "more than is believed": (_said(6 + MOST_BELIEVED), False),
}


@pytest.mark.parametrize("case", RESTORED)
def test_what_shows_a_restoration(case: str) -> None:
    said, expected = RESTORED[case]
    assert bool(explain_restoration(said, 5, {"ca": 3})) is expected


def test_certificates_that_the_ledger_does_not_know_are_replaced_many_at_a_time() -> None:
    said = {f"node-{n:04}": WatchState(1, (), (), f"{n:040x}") for n in range(1, 1503)}
    said["new"] = WatchState(1, (), (), "")
    strangers = find_strangers(said, {f"{n:040x}" for n in (1, 2)})
    assert list(strangers) == [f"node-{n:04}" for n in range(3, 1503)]
    first = choose_reissue(strangers)
    assert first == tuple(f"{n:040x}" for n in range(3, 1003))
    rest = {name: serial for name, serial in strangers.items() if serial not in first}
    assert choose_reissue(rest) == tuple(f"{n:040x}" for n in range(1003, 1503))
    assert choose_reissue({}) == ()


def test_a_leader_whose_lease_is_of_an_older_time_reads_all_anew() -> None:
    memory = Memory()
    elector = Elector(memory, "n", "me")
    elector._step()
    first = elector.term
    older = memory.read(LEASES, LEASE_NAME)
    for _ in range(2):
        elector._step()
        assert elector.leads_in(first)
    memory.objects["leases", LEASE_NAME] = older
    elector._step()
    assert elector.leads()
    assert not elector.leads_in(first)
    second = elector.term
    del memory.objects["leases", LEASE_NAME]
    elector._step()
    assert elector.leads()
    assert not elector.leads_in(second)


WISHES = {
    "new": ("2026-05-01T12:00:01Z 6h", "", "6h"),
    "without a wave": ("2026-05-01T12:00:01Z", "", ""),
    "another": ("2026-05-01T12:00:01Z", "2026-05-01T12:00:02Z", ""),
    "obeyed before": ("2026-05-01T12:00:01Z 6h", "2026-05-01T12:00:01Z 6h", None),
    "nonsense": ("soon", "", None),
    "without an end": ("2026-05-01T12:00:01Z " + "6" * 1000, "", None),
    "none": ("", "", None),
}


@pytest.mark.parametrize("case", WISHES)
def test_a_wish_for_another_authority(case: str) -> None:
    text, noted, wave = WISHES[case]
    wish = find_request(_wished(text), noted)
    assert (wish.wave if wish else None) == wave


def _wished(text: str) -> dict[str, Any]:
    return {"metadata": {"annotations": {"geneveil.io/rotate": text}}}


def _asked(age: timedelta, **status: Any) -> SigningRequest:
    made = f"{NOW - age:%Y-%m-%dT%H:%M:%SZ}"
    return parse_signing_request(
        {
            "metadata": {"name": "r", "uid": "u", "creationTimestamp": made},
            "spec": {"signerName": "geneveil.io/node"},
            "status": status,
        }
    )


def test_requests_are_kept_while_somebody_may_wait() -> None:
    young, old, day = timedelta(minutes=59), timedelta(minutes=61), timedelta(hours=25)
    answered: dict[str, Any] = {"certificate": "UEVN"}
    denied: dict[str, Any] = {"conditions": [{"type": "Denied", "status": "True"}]}
    for status in (answered, denied):
        assert not find_old_requests([_asked(young, **status)], NOW)
        assert find_old_requests([_asked(old, **status)], NOW)
    assert not find_old_requests([_asked(old)], NOW)
    assert find_old_requests([_asked(day)], NOW)


def test_one_transaction_may_change_the_same_rows_again_and_again(memory: Memory) -> None:
    """As when the CRLs of two authorities are made anew together: upserts, after other changes."""
    store = _sealed(memory)
    tables = TrustTables(store)
    with store.transaction():
        tables.bump()
        tables.put_crl(CrlRecord(1, 1, b"PEM"))
        tables.put_crl(CrlRecord(1, 2, b"PEM"))
    (crl,) = TrustTables(_loaded(memory)).read_crls()
    assert crl.number == 2
