"""What is forgotten of certificates, and what never is: whatever clocks and failures do."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from geneveil.kube.errors import ApiRefusedError, ConflictError
from geneveil.kube.kinds import NODES
from geneveil.kube.port import Document
from geneveil.model.errors import DaemonError
from geneveil.operator.kubernetes.caretaker import Caretaker
from geneveil.operator.kubernetes.cluster_cache import ClusterCache
from geneveil.operator.kubernetes.forgetting import FORGOTTEN_AFTER, Past, find_forgotten
from geneveil.operator.kubernetes.ledger import Binding
from geneveil.operator.kubernetes.store import KubeStore, Place, load_store
from geneveil.operator.records import CertificateRecord, Kind, Standing
from geneveil.operator.revocation import revoke_node
from geneveil.operator.trust_tables import CrlRecord, TrustTables
from geneveil.pki.crl import RevocationReason
from tests.memory_kube_api import Memory
from tests.unit.test_operator_kubernetes_state import NOW, _loaded, _sealed

YEAR = timedelta(days=365)
ENDS = NOW + 5 * YEAR
REASON = RevocationReason.CESSATION_OF_OPERATION


@dataclass
class Settable:
    """A clock that a test moves."""

    at: datetime = NOW

    def now(self) -> datetime:
        return self.at


def record(number: int, **changes: object) -> CertificateRecord:
    """A certificate of chassis-<number>, good for five years."""
    fields: dict[str, object] = {
        "serial": f"{number:040x}",
        "kind": Kind.NODE,
        "chassis": f"chassis-{number}",
        "authority_id": 1,
        "certificate_pem": b"PEM",
        "key_sha256": number.to_bytes(4),
        "issued_at": NOW,
        "not_before": NOW,
        "not_after": ENDS,
        "csr_sha256": number.to_bytes(4),
        **changes,
    }
    return CertificateRecord(**fields)  # type: ignore[arg-type]


def certify(store: KubeStore, *numbers: int, authority: int = 1) -> None:
    with store.transaction():
        for number in numbers:
            store.add_certificate(record(number, authority_id=authority))
            store.bind(f"chassis-{number}", Binding(f"node-{number}", f"uid-{number}"))


def at(memory: Memory, moment: datetime) -> KubeStore:
    """The store as a leader with this clock reads it."""
    store = load_store(Place(memory, "n"), Settable(moment))
    assert store is not None
    return store


def test_a_clock_that_leapt_loses_no_revocation() -> None:
    memory = Memory()
    certify(_sealed(memory), 1)
    leapt = at(memory, NOW + 6 * YEAR)
    revoke_node(leapt, "chassis-1", Standing.REMOVED, REASON, NOW + 6 * YEAR)
    (kept,) = _loaded(memory).find_certificates_of("chassis-1")
    assert kept.revoked_at is not None
    assert TrustTables(_loaded(memory)).read_revoked_chassis(NOW) == ("chassis-1",)


@pytest.mark.parametrize("fails", [True, False])
def test_what_a_failed_transaction_staged_joins_no_other(fails: bool) -> None:
    memory = Memory()
    store = _sealed(memory)
    certify(store, 1)
    try:
        with store.transaction():
            store.bind("chassis-1", Binding("phantom", "uid"))
            store.hear_wish("2026-05-01T12:00:00Z")
            if fails:
                raise DaemonError("it failed before anything was written")
    except DaemonError:
        pass
    with store.transaction():
        TrustTables(store).bump()
    revoke_node(store, "chassis-1", Standing.REVOKED, REASON, NOW)
    for one in (store, _loaded(memory)):
        assert (one.bindings["chassis-1"].node == "phantom") is not fails
        assert bool(one.heard_wish) is not fails


def test_what_an_inner_transaction_staged_goes_with_it() -> None:
    memory = Memory()
    store = _sealed(memory)
    certify(store, 1)
    with store.transaction():
        TrustTables(store).bump()
        try:
            with store.transaction():
                store.bind("chassis-1", Binding("phantom", "uid"))
                raise DaemonError("the request waits")
        except DaemonError:
            pass
    revoke_node(store, "chassis-1", Standing.REVOKED, REASON, NOW)
    for one in (store, _loaded(memory)):
        assert one.bindings["chassis-1"].node == "node-1"


@pytest.mark.parametrize(
    ("believed", "server", "is_kept"),
    [
        (None, 10, True),  # nobody knows what time it is
        (10, 0, True),  # the operator's clock ran away
        (0, 10, True),  # the API server's did
        (10, 10, False),
    ],
)
def test_a_certificate_is_forgotten_when_both_clocks_say_that_it_ended(
    believed: int | None, server: int, is_kept: bool
) -> None:
    memory = Memory()
    certify(_sealed(memory), 1)
    store = at(memory, NOW + server * YEAR)
    with store.transaction():
        if believed is not None:
            store.note_believed(NOW + believed * YEAR)
        store.add_certificate(record(2, chassis="chassis-1", not_after=NOW + 20 * YEAR))
    for one in (store, _loaded(memory)):
        assert (one.find_certificate(record(1).serial) is not None) is is_kept
        assert one.find_certificate(record(2).serial) is not None


FORGOTTEN: dict[str, tuple[tuple[CertificateRecord, ...], tuple[int, ...]]] = {
    "nothing is over": ((record(1), record(2)), ()),
    "ended": ((record(1, not_after=NOW - timedelta(days=31)), record(2)), (1,)),
    "ended, and was revoked": (
        (record(1, not_after=NOW - timedelta(days=31), revoked_at=NOW - YEAR),),
        (1,),
    ),
    "ended lately": ((record(1, not_after=NOW - timedelta(days=29)),), ()),
    "revoked": ((record(1, revoked_at=NOW),), ()),
    "revoked, of a retired authority": (
        (record(1, authority_id=7, revoked_at=NOW), record(2)),
        (1,),
    ),
    "the newest, revoked, of a retired authority": (
        (record(1, authority_id=7, revoked_at=NOW),),
        (),
    ),
    "replaced, of a retired authority": ((record(1, authority_id=7), record(2)), (1,)),
    "the newest, of a retired authority": ((record(1, authority_id=7),), ()),
    "none": ((), ()),
}


@pytest.mark.parametrize("case", FORGOTTEN)
def test_what_is_needed_no_more(case: str) -> None:
    own, expected = FORGOTTEN[case]
    past = Past(NOW - FORGOTTEN_AFTER, frozenset({7}))
    assert find_forgotten(own, past) == tuple(record(number).serial for number in expected)


def _retire_and_leave(store: KubeStore) -> None:
    """Chassis 1 is gone, 2 was revoked by a person, 3 is there; then their authority left."""
    certify(store, 1, 2, 3)
    revoke_node(store, "chassis-1", Standing.REMOVED, REASON, NOW)
    revoke_node(store, "chassis-2", Standing.REVOKED, REASON, NOW)
    with store.transaction():
        TrustTables(store).put_crl(CrlRecord(1, 9, b"PEM"))
        TrustTables(store).retire_authority(1, NOW)


def test_a_chassis_that_left_is_forgotten_with_its_authority() -> None:
    memory = Memory()
    store = _sealed(memory)
    _retire_and_leave(store)
    assert store.forget_gone({"node-3"}.__contains__, 10) == ("chassis-1",)
    assert store.forget_gone({"node-3"}.__contains__, 10) == ()
    for one in (store, _loaded(memory)):
        assert set(one.bindings) == {"chassis-2", "chassis-3"}
        assert TrustTables(one).find_node("chassis-1") is None
        assert TrustTables(one).find_node("chassis-2") is not None
    certify(store, 1)  # it comes back, as a new one
    assert _loaded(memory).find_certificates_of("chassis-1")


def test_ledgers_are_forgotten_some_at_a_time_and_none_that_is_needed() -> None:
    memory = Memory()
    store = _sealed(memory)
    certify(store, *range(1, 6))
    nobody: frozenset[str] = frozenset()
    assert store.forget_gone(nobody.__contains__, 10) == ()  # their authority is trusted
    for number in range(1, 6):
        revoke_node(store, f"chassis-{number}", Standing.REMOVED, REASON, NOW)
    assert store.forget_gone(nobody.__contains__, 10) == ()
    with store.transaction():
        TrustTables(store).retire_authority(1, NOW)
    assert [len(store.forget_gone(nobody.__contains__, 2)) for _ in range(4)] == [2, 2, 1, 0]
    assert _loaded(memory).bindings == {}


@pytest.mark.parametrize("is_refused", [True, False])
def test_a_ledger_that_can_not_be_deleted(is_refused: bool) -> None:
    memory = Memory()
    store = _sealed(memory)
    _retire_and_leave(store)

    def delete(*arguments: object, **more: object) -> None:
        raise ApiRefusedError(403, "no") if is_refused else ConflictError("another wrote it")

    memory.delete = delete  # type: ignore[method-assign]
    with pytest.raises(ApiRefusedError if is_refused else ConflictError):
        store.forget_gone({"node-3"}.__contains__, 10)
    assert store.is_stale is not is_refused
    assert "chassis-1" in store.bindings


def test_a_retired_authoritys_list_is_not_kept() -> None:
    memory = Memory()
    _retire_and_leave(_sealed(memory))
    (crl,) = TrustTables(_loaded(memory)).read_crls()
    assert (crl.number, crl.crl_pem) == (9, b"")


def _node(number: int, uid: str) -> Document:
    return {"metadata": {"name": f"node-{number}", "uid": uid}}


REMADE: dict[str, tuple[Document | None, Document | None, bool]] = {
    "as it was": (_node(1, "uid-1"), _node(1, "uid-1"), False),
    "gone": (None, None, True),
    "gone, and made again unobserved": (_node(1, "another"), _node(1, "another"), True),
    "only not heard of yet": (None, _node(1, "uid-1"), False),
    "as it was, and what was heard is old": (_node(1, "another"), _node(1, "uid-1"), False),
}


@pytest.mark.parametrize("case", REMADE)
def test_a_node_is_gone_also_if_another_has_its_name(case: str) -> None:
    heard, there, is_revoked = REMADE[case]
    memory = Memory()
    store = _sealed(memory)
    certify(store, 1)
    cache = ClusterCache()
    cache.replace(NODES, [heard] if heard else [])
    if there:
        memory.create(NODES, there)
    caretaker = Caretaker(memory, cache)
    for _ in range(2):
        caretaker.revoke_the_gone(store, NOW)
    caretaker.close()
    said = TrustTables(_loaded(memory)).find_node("chassis-1")
    assert (said is not None and said.standing is Standing.REMOVED) is is_revoked


def test_a_node_that_was_made_again_brings_a_look_at_everything() -> None:
    cache = ClusterCache()
    cache.replace(NODES, [_node(1, "uid-1")])
    cache.is_urgent = False
    cache.replace(NODES, [_node(1, "uid-1")])
    assert not cache.is_urgent
    cache.replace(NODES, [_node(1, "another")])  # after a watch that was cut
    assert cache.is_urgent
