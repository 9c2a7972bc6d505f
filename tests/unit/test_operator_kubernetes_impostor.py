"""A node whose agent or kubelet is an attacker's: what it says of others has no effect on them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from geneveil.kube.csr_wire import NODE_NAME, NODE_UID
from geneveil.kube.kinds import CONFIG_MAPS, NODE_IPSECS, NODES, SIGNING_REQUESTS
from geneveil.kube.port import Change, Document
from geneveil.model.names import is_chassis_name
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.confirmations import AWAY_AFTER_SECONDS, Confirmations
from geneveil.operator.kubernetes.capacity import MOST_BYTES
from geneveil.operator.kubernetes.caretaker import MOST_DELETED, Caretaker
from geneveil.operator.kubernetes.census import take_census
from geneveil.operator.kubernetes.claims import CHASSIS_ANNOTATION, read_node
from geneveil.operator.kubernetes.cluster_cache import ClusterCache
from geneveil.operator.kubernetes.duties import MOST_AT_ONCE, Duties
from geneveil.operator.kubernetes.foundation import Foundation, Means, lay_foundation
from geneveil.operator.kubernetes.ledger import MOST_LOG_ENTRIES, Binding
from geneveil.operator.kubernetes.orders import READMIT, REVOKE
from geneveil.operator.kubernetes.publication import published_generation, trust_document
from geneveil.operator.kubernetes.publisher import MOST_AHEAD, Publisher
from geneveil.operator.kubernetes.requested_rotation import ROTATE
from geneveil.operator.kubernetes.store import KubeStore, Place
from geneveil.operator.records import CertificateRecord, Kind, Standing
from geneveil.operator.registry import read_trust_state
from geneveil.operator.trust_tables import TrustTables
from tests.memory_kube_api import Memory
from tests.unit.test_operator_kubernetes_state import NOW, Fixed, _loaded, _sealed

SERIALS = {"victim": "1" * 40, "thief": "2" * 40}


def _certify(store: KubeStore) -> None:
    with store.transaction():
        for chassis, serial in SERIALS.items():
            store.add_certificate(
                CertificateRecord(
                    serial=serial,
                    kind=Kind.NODE,
                    chassis=chassis,
                    authority_id=1,
                    certificate_pem=b"PEM",
                    key_sha256=chassis.encode(),
                    issued_at=NOW,
                    not_before=NOW,
                    not_after=NOW.replace(year=NOW.year + 1),
                    csr_sha256=chassis.encode(),
                )
            )
            store.bind(chassis, Binding(f"node-{chassis}", f"uid-{chassis}"))


def _node(chassis: str, claims: str, serial: str) -> tuple[Document, Document]:
    metadata: dict[str, Any] = {"name": f"node-{chassis}", "uid": f"uid-{chassis}"}
    trust = {"generation": 1, "trusts": ["a" * 64], "crls": {}, "serial": serial}
    return (
        {"metadata": {**metadata, "annotations": {CHASSIS_ANNOTATION: claims}}},
        {"metadata": dict(metadata), "status": {"chassis": claims, "trust": trust}},
    )


def _cache(*nodes: tuple[Document, Document]) -> ClusterCache:
    cache = ClusterCache()
    cache.replace(NODES, [node for node, _ in nodes])
    cache.replace(NODE_IPSECS, [node_ipsec for _, node_ipsec in nodes])
    return cache


def _duties(memory: Memory, cache: ClusterCache) -> tuple[Duties, Foundation, Means]:
    means = Means(Place(memory, "n"), Fixed(), lambda size: b"\x07" * size, cache, Confirmations())
    base = lay_foundation(means)
    assert base is not None
    return Duties(means, lambda: 0.0, "geneveil.io/node"), base, means


@pytest.mark.parametrize("name", ["thief", "victim"])
def test_nobody_confirms_for_another(name: str) -> None:
    """What is heard of the victim is what its own Node said."""
    memory = Memory()
    _certify(_sealed(memory))
    cache = _cache(_node(name, "victim", SERIALS["victim"]))
    duties, base, means = _duties(memory, cache)
    assert base.registry is not None
    duties._hear(base.registry, base.store)
    assert (means.confirmations.find("victim") is not None) is (name == "victim")
    duties.close()


FORMER: dict[str, tuple[dict[str, Any], str]] = {
    "it uses what it is now": ({}, "victim"),
    "it is again what it was": ({"now": "victim", "serial": SERIALS["victim"]}, "renamed"),
    "it has not said so": ({"says": False}, ""),
    "it says so of another Node's": ({"serial": SERIALS["thief"]}, ""),
    "it uses the former too": ({"in_use": ["1" * 40]}, ""),
    "the same in other letters": ({"now": "VICTIM"}, ""),
}


@pytest.mark.parametrize("case", FORMER)
def test_what_a_node_was_before_is_shut_out(case: str) -> None:
    """The key on a disk that was made anew is in nobody's hands, or in the wrong ones."""
    changes, shut_out = FORMER[case]
    view = {"says": True, "now": "renamed", "serial": "3" * 40, "in_use": [], **changes}
    memory = Memory()
    store = _sealed(memory)
    _certify(store)
    with store.transaction():
        former = store.find_certificates_of("victim")[0]
        present = replace(former, serial="3" * 40, chassis="renamed", key_sha256=b"new")
        store.add_certificate(present)
        store.bind("renamed", Binding("node-victim", "uid-victim"))
    node, node_ipsec = _node("victim", view["now"], view["serial"])
    node_ipsec["status"]["trust"]["inUse"] = view["in_use"]
    duties, base, means = _duties(memory, _cache((node, node_ipsec), _node("thief", "thief", "")))
    assert base.registry is not None
    if view["says"]:
        duties._hear(base.registry, base.store)
    caretaker = Caretaker(memory, means.cache)
    for _ in range(2):
        caretaker.revoke_the_former(base.store, means.confirmations, NOW)
    tables = TrustTables(_loaded(memory))
    assert [one.chassis for one in tables.read_nodes()] == ([shut_out] if shut_out else [])
    assert [one.serial for one in tables.read_revoked(1)] == (
        [{"victim": SERIALS["victim"], "renamed": "3" * 40}[shut_out]] if shut_out else []
    )
    for one in (duties, caretaker):
        one.close()


def test_who_does_not_speak_is_not_up() -> None:
    """What an agent said last stays where it was said, long after it died."""
    memory = Memory()
    _certify(_sealed(memory))
    node, node_ipsec = _node("victim", "victim", SERIALS["victim"])
    node_ipsec["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    duties, base, means = _duties(memory, _cache((node, node_ipsec)))
    assert base.registry is not None
    duties._hear(base.registry, base.store)
    for at_seconds, up in ((AWAY_AFTER_SECONDS - 1, 1), (AWAY_AFTER_SECONDS, 0)):
        assert take_census(base.store, base.registry, means, at_seconds).up == up
    duties.close()


@pytest.mark.parametrize("claims", ["victim", "thief", "something-else", ""])
def test_who_is_revoked_is_the_node_whatever_it_calls_itself(claims: str) -> None:
    memory = Memory()
    store = _sealed(memory)
    _certify(store)
    node, node_ipsec = _node("thief", claims, SERIALS["thief"])
    node_ipsec["metadata"]["annotations"] = {REVOKE: "keyCompromise"}
    cache = _cache((node, node_ipsec), _node("victim", "victim", SERIALS["victim"]))
    caretaker = Caretaker(memory, cache)
    caretaker.obey_people(store, NOW)
    caretaker.close()
    tables = TrustTables(_loaded(memory))
    thief = tables.find_node("thief")
    assert thief is not None
    assert thief.standing is Standing.REVOKED
    assert tables.find_node("victim") is None


@pytest.mark.parametrize("days", [-1600, 0, 1600])
@pytest.mark.parametrize(("seconds", "is_back"), [(-1, False), (0, True)])
def test_a_node_is_let_back_by_a_wish_that_is_newer_than_its_revocation(
    days: int, seconds: int, is_back: bool
) -> None:
    """Both as times of the API server's clock, whatever the operator's own says."""
    memory, ahead = Memory(), timedelta(days=days)
    store = _sealed(memory)
    _certify(store)
    node, node_ipsec = _node("thief", "thief", SERIALS["thief"])
    cache = _cache((node, node_ipsec))
    caretaker = Caretaker(memory, cache)
    wish = f"{NOW + ahead + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"
    for order in ({REVOKE: "keyCompromise"}, {READMIT: wish}):
        node_ipsec["metadata"]["annotations"] = order
        cache.change(NODE_IPSECS, Change.MODIFIED, node_ipsec)
        caretaker.obey_people(store, NOW, ahead)
    caretaker.close()
    thief = TrustTables(store).find_node("thief")
    assert thief is not None
    assert (thief.standing is Standing.READMITTED) is is_back


def _wish(cache: ClusterCache, text: str) -> None:
    cache.switch = {"metadata": {"name": "cluster", "annotations": {ROTATE: text}}, "spec": {}}


def test_a_wish_for_a_roll_over_is_obeyed_once_whatever_clocks_do() -> None:
    memory = Memory()
    _sealed(memory)
    cache = _cache()
    duties, base, means = _duties(memory, cache)
    for text, generation in (("2026-05-01T12:00:00Z 6h", 1), ("2099-01-01T00:00:00Z", 1)):
        _wish(cache, text)
        duties.obey(base)
        duties.obey(base)
        trust = TrustTables(_loaded(memory)).read()
        assert trust.requested_at == NOW
        assert trust.generation > generation
        assert _loaded(memory).heard_wish == text
        with base.store.transaction():
            base.store.write_row("UPDATE trust SET requested_at = NULL", ())
        duties.obey(base)  # the roll-over is over; the wish is still there
        assert TrustTables(_loaded(memory)).read().requested_at is None
        # another leader, whose clock says something else
        again = Duties(means, lambda: 0.0, "geneveil.io/node")
        other = lay_foundation(means)
        assert other is not None
        again.obey(other)
        assert TrustTables(_loaded(memory)).read().requested_at is None


def test_a_wish_that_cannot_be_granted_is_in_nobodys_way() -> None:
    memory = Memory()
    _sealed(memory)
    cache = _cache()
    duties, base, _ = _duties(memory, cache)
    for wave in ("99999d", "soon"):
        _wish(cache, f"2026-05-01T12:00:00Z {wave}")
        duties.obey(base)
        assert TrustTables(_loaded(memory)).read().requested_at is None
        assert not base.store.is_stale


def test_a_binding_without_certificates_stops_nobody() -> None:
    memory = Memory()
    store = _sealed(memory)
    _certify(store)
    with store.transaction():
        store.bind("forgotten", Binding("node-gone", "uid"))
    caretaker = Caretaker(memory, _cache())
    caretaker.revoke_the_gone(store, NOW)
    caretaker.close()
    assert TrustTables(store).find_node("victim") is not None
    assert TrustTables(store).find_node("forgotten") is None


def test_what_a_store_says_a_node_is() -> None:
    memory = Memory()
    store = _sealed(memory)
    _certify(store)
    assert _loaded(memory).chassis_of("node-thief") == ("thief",)
    with store.transaction():
        assert store.chassis_of("node-thief") == ("thief",)
        store.bind("thief", Binding("node-other", "uid"))
        assert store.chassis_of("node-thief") == ()
        assert store.chassis_of("node-other") == ("thief",)


@pytest.mark.parametrize(("ahead", "is_kept"), [(1, True), (MOST_AHEAD, True), (2**62, False)])
def test_a_generation_that_nobody_published_is_overwritten(ahead: int, is_kept: bool) -> None:
    memory = Memory()
    state = read_trust_state(_sealed(memory), NOW)
    forged = trust_document(state, "n")
    generation = state.trust.generation + ahead
    forged["data"]["trust.json"] = f'{{"generation": {generation}}}'
    memory.create(CONFIG_MAPS, forged)
    told = Publisher(memory, "n").publish_trust(state)
    there = published_generation(memory.read(CONFIG_MAPS, "geneveil-trust"))
    assert told == there == (generation if is_kept else state.trust.generation)


def test_the_same_name_in_other_letters_is_another_nodes() -> None:
    """Even while that Node does not say which chassis it is."""
    memory = Memory()
    _certify(_sealed(memory))
    cache = _cache(_node("thief", "VICTIM", ""), _node("victim", "", ""))
    duties, base, _ = _duties(memory, cache)
    duties.close()
    assert base.signer is not None
    assert base.signer._claimants("VICTIM", "node-thief") == ("node-victim",)
    assert base.signer._claimants("victim", "node-victim") == ("node-thief",)
    assert base.signer._claimants("thief", "node-thief") == ()


def _asked(name: str, node: str, second: int) -> Document:
    extra = {NODE_NAME: [f"node-{node}"], NODE_UID: [f"uid-{node}"]}
    return {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "creationTimestamp": f"2026-05-01T11:59:{second:02}Z",
        },
        "spec": {
            "request": "",
            "signerName": "geneveil.io/node",
            "username": "system:serviceaccount:n:geneveil-agent",
            "extra": extra,
        },
    }


def test_many_that_wait_are_not_in_the_way() -> None:
    memory = Memory()
    _certify(_sealed(memory))
    cache = _cache(_node("thief", "", ""))
    many = [_asked(f"a-{number:03}", "thief", 1) for number in range(MOST_AT_ONCE)]
    cache.replace(SIGNING_REQUESTS, many)
    duties, base, _ = _duties(memory, cache)
    assert base.registry is not None
    duties._sign(base, base.registry)
    duties._waits.clear()  # their second is over
    cache.replace(SIGNING_REQUESTS, [*many, _asked("z", "victim", 30)])
    assert [one.name for one in duties._pending()][:2] == ["z", "a-000"]
    cache.replace(SIGNING_REQUESTS, [])
    assert duties._pending() == []
    assert not duties._late
    duties.close()


def test_a_ledger_without_its_label_is_not_forgotten() -> None:
    memory = Memory()
    _certify(_sealed(memory))
    for document in memory.objects.values():
        document["metadata"].pop("labels", None)
    assert set(_loaded(memory).bindings) == set(SERIALS)


def test_old_requests_are_deleted_some_at_a_time() -> None:
    memory = Memory()
    cache = _cache()
    many = [_asked(f"a-{number}", "thief", 1) for number in range(MOST_DELETED + 1)]
    cache.replace(SIGNING_REQUESTS, many)
    for one in many:
        memory.create(SIGNING_REQUESTS, one)
    caretaker = Caretaker(memory, cache)
    for left in (1, 0):
        caretaker.clean_requests(NOW + timedelta(days=2))
        assert len(cache.requests) == len(memory.objects) == left
    caretaker.close()


def test_a_log_of_long_entries_is_written_as_far_as_it_fits() -> None:
    """Its parts are what strangers say; what can't be written would fill the memory."""
    memory = Memory()
    store = _sealed(memory)
    with store.transaction():
        for number in range(MOST_LOG_ENTRIES):
            event = AuditEvent(Event.REFUSED, chassis="thief", detail=f"{number:04}" + "x" * 3000)
            store.append_audit(event, NOW)
    store.write_log()
    text = memory.objects[CONFIG_MAPS.plural, "geneveil-ledger-operator"]["data"]["audit.json"]
    assert MOST_BYTES - 10_000 < len(text) < MOST_BYTES
    kept = [int(one.detail[:4]) for one in _loaded(memory).read_audit()]
    assert kept == list(range(MOST_LOG_ENTRIES - len(kept), MOST_LOG_ENTRIES))


def test_a_claim_without_end_is_cut_and_is_still_no_name() -> None:
    node, node_ipsec = _node("thief", "t" * 200_000, SERIALS["thief"])
    facts = read_node(node, node_ipsec)
    assert not is_chassis_name(facts.annotated)
    assert not is_chassis_name(facts.reported)
    assert len(facts.annotated) == len(facts.reported) < 200


def test_refusals_without_end_do_not_fill_the_memory() -> None:
    memory = Memory()
    store = _sealed(memory)
    event = AuditEvent(Event.REFUSED, chassis="thief")
    with store.transaction():
        for _ in range(2 * MOST_LOG_ENTRIES):
            store.append_audit(event, NOW)
    before = len(store.read_audit())
    store.write_log()
    assert len(store.read_audit()) == before  # nobody was told yet
    assert len(store.take_told()) == before
    with store.transaction():
        store.append_audit(event, NOW)
    store.write_log()
    assert len(store.read_audit()) == MOST_LOG_ENTRIES
    assert _loaded(memory).read_audit() == store.read_audit()
