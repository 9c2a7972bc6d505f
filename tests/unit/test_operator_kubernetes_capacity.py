"""Many removed nodes, and a publication that fails: what goes on, and what people are told."""

import json
from datetime import timedelta
from typing import Any

import pytest

from geneveil.kube.errors import ApiRefusedError, ApiUnavailableError
from geneveil.kube.kinds import CLUSTER_IPSECS, CONFIG_MAPS, NODES, SIGNING_REQUESTS
from geneveil.kube.port import Document, Kind
from geneveil.model.errors import GeneveilError, TrustError
from geneveil.operator.confirmations import Confirmations
from geneveil.operator.kubernetes import publisher
from geneveil.operator.kubernetes.capacity import (
    MANY_BYTES,
    MOST_NAMED,
    MOST_OF_ONE,
    REVOKED_BEFORE_ROLL_OVER,
    REVOKED_OF_ONE_BEFORE_ROLL_OVER,
    choose_named,
    is_roll_over_due,
    judge_size,
)
from geneveil.operator.kubernetes.cluster_cache import ClusterCache
from geneveil.operator.kubernetes.duties import REFUSED_SECONDS, Duties
from geneveil.operator.kubernetes.foundation import Foundation, Means, lay_foundation
from geneveil.operator.kubernetes.ledger import Binding, ChassisLedger, ledger_document
from geneveil.operator.kubernetes.publisher import Publisher
from geneveil.operator.kubernetes.session.loop import FAILING_SECONDS, Session
from geneveil.operator.kubernetes.store import Place
from geneveil.operator.records import NodeRecord, Standing
from geneveil.operator.registry import read_trust_state
from geneveil.operator.revocation import revoke_node
from geneveil.operator.trust_tables import TrustTables
from geneveil.pki.rollover import Phase
from tests.memory_kube_api import Memory
from tests.unit.test_operator_kubernetes_forgetting import (
    REASON,
    YEAR,
    Settable,
    certify,
    record,
)
from tests.unit.test_operator_kubernetes_state import NOW, _loaded, _sealed


class Leader:
    """A leader's duties over an API server's memory, with a ClusterIPsec."""

    def __init__(self, memory: Memory, *nodes: str) -> None:
        self.memory, self.clock = memory, Settable()
        self.cache = ClusterCache()
        self.cache.replace(NODES, [_object(name) for name in nodes])
        self.cache.switch = memory.create(CLUSTER_IPSECS, {**_object("cluster"), "spec": {}})
        self.means = Means(
            Place(memory, "n"), self.clock, lambda size: b"\x07" * size, self.cache, Confirmations()
        )
        self.seconds = 0.0
        self.duties = Duties(self.means, lambda: self.seconds, "geneveil.io/node")
        base = lay_foundation(self.means)
        assert base is not None
        self.base: Foundation = base

    def look(self) -> None:
        self.seconds += 10
        self.duties.do(self.base)

    def conditions(self) -> dict[str, Document]:
        status = self.memory.objects["clusteripsecs", "cluster"]["status"]
        return {one["type"]: one for one in status["conditions"]}


def _object(name: str) -> Document:
    return {"metadata": {"name": name, "uid": f"uid-{name.removeprefix('node-')}"}}


def _stranger(name: str) -> Document:
    return {
        "metadata": {**_object(name)["metadata"], "creationTimestamp": "2026-05-01T11:59:59Z"},
        "spec": {"request": "", "signerName": "geneveil.io/node", "username": "a-human"},
    }


def _refuse_trust(memory: Memory) -> None:
    """As an API server does to which an object is too large."""
    put = memory._put

    def refuse(kind: Kind, document: Document) -> Document:
        if document["metadata"]["name"] == "geneveil-trust":
            raise ApiRefusedError(422, "replace configmaps/geneveil-trust", why="Too long")
        return put(kind, document)

    memory._put = refuse  # type: ignore[method-assign]


def test_a_publication_that_fails_keeps_nothing_else_from_being_done() -> None:
    memory = Memory()
    certify(_sealed(memory), 1)
    leader = Leader(memory)  # chassis-1's Node is gone
    leader.cache.replace(SIGNING_REQUESTS, [memory.create(SIGNING_REQUESTS, _stranger("r"))])
    _refuse_trust(memory)
    with pytest.raises(ApiRefusedError) as caught:
        leader.look()
    removed = TrustTables(_loaded(memory)).find_node("chassis-1")
    assert removed is not None
    assert removed.standing is Standing.REMOVED
    assert "Denied" in str(memory.objects["certificatesigningrequests", "r"])
    assert leader.cache.is_urgent  # it is tried again
    leader.duties.report(leader.base, caught.value)
    told = leader.conditions()
    assert (told["Available"]["status"], told["Degraded"]["status"]) == ("False", "True")
    assert told["Degraded"]["reason"] == "LookFails"
    assert "Too long" in told["Degraded"]["message"]
    leader.duties.report(leader.base)
    assert leader.conditions()["Available"]["status"] == "True"
    leader.duties.close()


def test_answers_that_are_refused_are_told() -> None:
    """Else all would be well: the ledger has the certificates that no node gets."""
    memory = Memory()
    _sealed(memory)
    leader = Leader(memory)
    request = memory.create(SIGNING_REQUESTS, _stranger("r"))
    leader.cache.replace(SIGNING_REQUESTS, [request])
    put = memory._put

    def refuse(kind: Kind, document: Document) -> Document:
        if kind is SIGNING_REQUESTS:
            raise ApiRefusedError(403, "replace certificatesigningrequests/r", why="forbidden")
        return put(kind, document)

    memory._put = refuse  # type: ignore[method-assign]
    leader.look()
    leader.cache.replace(SIGNING_REQUESTS, [])
    for seconds, is_told in ((0, True), (REFUSED_SECONDS, True), (1, False)):
        leader.seconds += seconds
        leader.duties.report(leader.base)
        message = leader.conditions()["Degraded"]["message"]
        assert ("refuses answers" in message) is is_told
        assert ("1, the first for r: replace certificatesigningrequests" in message) is is_told
    leader.duties.close()


def test_what_is_too_large_is_not_sent_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = Memory()
    store = _sealed(memory)
    monkeypatch.setattr(publisher, "MOST_BYTES", 100)
    with pytest.raises(TrustError, match="waitingFor"):
        Publisher(memory, "n").publish_trust(read_trust_state(store, NOW))
    assert not memory.objects.get((CONFIG_MAPS.plural, "geneveil-trust"))


DUE: dict[str, tuple[dict[str, Any], bool]] = {
    "many": ({}, True),
    "few": ({"revoked": REVOKED_BEFORE_ROLL_OVER - 1}, False),
    "many of one chassis": (
        {"revoked": 200, "revoked_of_one": REVOKED_OF_ONE_BEFORE_ROLL_OVER},
        True,
    ),
    "few of one chassis": (
        {"revoked": 200, "revoked_of_one": REVOKED_OF_ONE_BEFORE_ROLL_OVER - 1},
        False,
    ),
    "one is under way": ({"phase": Phase.RETIRE}, False),
    "asked for already": ({"is_requested": True}, False),
    "no clock is believed yet": ({"believed_at": None}, False),
    "the clock leapt": ({"now": NOW + YEAR}, False),
    "the clock went back": ({"now": NOW - YEAR}, False),
}


@pytest.mark.parametrize("case", DUE)
def test_when_many_revoked_are_reason_for_a_roll_over(case: str) -> None:
    changes, expected = DUE[case]
    view = {
        "revoked": REVOKED_BEFORE_ROLL_OVER,
        "revoked_of_one": 1,
        "phase": Phase.STEADY,
        "is_requested": False,
        "believed_at": NOW,
        "now": NOW,
        **changes,
    }
    assert is_roll_over_due(**view) is expected


def test_of_which_chassis_the_most_is_revoked() -> None:
    store = _sealed(Memory())
    assert store.count_revoked(1) == (0, 0)
    with store.transaction():
        for number, chassis in enumerate(("a", "b", "b", "c")):
            store.add_certificate(record(number, chassis=chassis))
    for chassis in ("a", "b"):
        revoke_node(store, chassis, Standing.REMOVED, REASON, NOW)
    assert store.count_revoked(1) == (3, 2)


def test_the_largest_ledger_that_is_let_be_can_be_written() -> None:
    """With the longest of certificates, all revoked."""
    name = "n" * 63
    times = (1700000000, 1700000000, 1900000000, 1800000000)
    made = ("a" * 40, "node", name, 1, b"x" * 1900, b"k" * 32)
    row = (*made, *times, "cessationOfOperation", b"c" * 32, "b" * 40)
    ledger = ChassisLedger(name, Binding(name, "u" * 36), (row,) * MOST_OF_ONE, None)
    assert ledger_document(ledger, "n")  # or it raises


def test_removed_nodes_without_end_do_not_fill_what_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of each hundred that come and go nothing is left when the authority's roll-over is over."""
    monkeypatch.setattr("geneveil.operator.kubernetes.capacity.REVOKED_BEFORE_ROLL_OVER", 100)
    memory = Memory()
    store = _sealed(memory)
    told: list[str] = []
    ledgers: list[int] = []
    for rounds in range(3):
        newest = store.read_authorities()[-1].authority_id
        certify(store, *range(1000 * rounds + 1, 1000 * rounds + 101), authority=newest)
        store.close()
        leader = Leader(memory)
        for _ in range(12):
            leader.look()
            leader.clock.at += timedelta(hours=1)
            for _ in range(2):
                leader.duties.clean(leader.base)
        assert TrustTables(leader.base.store).read().phase is Phase.STEADY
        told.append(memory.objects["configmaps", "geneveil-trust"]["data"]["trust.json"])
        ledgers.append(sum(name.startswith("geneveil-ledger-") for _, name in memory.objects))
        leader.duties.close()
        del memory.objects["clusteripsecs", "cluster"]
        store = _loaded(memory)
    assert len(TrustTables(store).read_crls()) == 4
    assert max(len(text) for text in told) < 4000  # a hundred on a list have 7,500
    assert ['"chassis-1"' in text for text in told] == [True, False, False]
    assert ledgers == [1, 1, 1]  # the log's


def test_half_full_is_told() -> None:
    assert judge_size(MANY_BYTES - 1) is None
    problem = judge_size(MANY_BYTES)
    assert problem is not None
    assert problem.reason == "ManyRevoked"
    assert "operator ca rotate" in problem.message


def test_who_is_named_when_not_all_can_be() -> None:
    few = ("a", "b")
    assert choose_named(few, lambda: pytest.fail("nobody has to ask")) == few
    records = [
        NodeRecord(f"{number:06}", Standing.REMOVED, "x", NOW + timedelta(seconds=number))
        for number in range(MOST_NAMED + 10)
    ]
    by_hand = NodeRecord("000003", Standing.REVOKED, "x", NOW)
    records[3] = by_hand
    names = tuple(one.chassis for one in records)
    named = choose_named(names, lambda: records)
    assert len(named) == MOST_NAMED
    assert list(named) == sorted(named)
    assert "000003" in named
    assert set(names) - set(named) == {f"{number:06}" for number in range(11)} - {"000003"}


class Scripted(Duties):
    """Looks that fail as the test says."""

    failure: GeneveilError | None = None

    def do(self, base: Foundation) -> bool:
        if self.failure is not None:
            raise self.failure
        return False


@pytest.mark.parametrize(
    ("failure", "lasts_seconds", "is_told"),
    [
        (ApiRefusedError(403, "list nodes"), 0.0, True),
        (ApiUnavailableError("away"), 0.0, False),
        (ApiUnavailableError("away"), FAILING_SECONDS, True),
        (None, 0.0, False),
    ],
)
def test_looks_that_fail_are_told(
    monkeypatch: pytest.MonkeyPatch,
    failure: GeneveilError | None,
    lasts_seconds: float,
    is_told: bool,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(
        "geneveil.operator.kubernetes.session.loop.time.monotonic", lambda: clock[0]
    )
    memory = Memory()
    _sealed(memory)
    leader = Leader(memory)
    session = Session(leader.means, memory, "geneveil.io/node")
    duties = Scripted(leader.means, lambda: 0.0, "geneveil.io/node")
    duties.failure = failure
    for _ in range(2):
        session._look(duties)
        session._report(duties)
        clock[0] += lasts_seconds
    reasons = json.dumps(memory.objects["clusteripsecs", "cluster"])
    assert ("LookFails" in reasons) is is_told
    duties.failure = None
    clock[0] += 10
    session._look(duties)
    session._report(duties)
    assert leader.conditions()["Degraded"]["reason"] != "LookFails"
    for one in (leader.duties, duties):
        one.close()


def test_a_node_that_a_person_shut_out_is_no_stranger_after_a_roll_over() -> None:
    """It goes on to say that it uses the certificate that was revoked."""
    memory = Memory()
    store = _sealed(memory)
    certify(store, 1)
    revoke_node(store, "chassis-1", Standing.REVOKED, REASON, NOW)
    with store.transaction():
        TrustTables(store).retire_authority(1, NOW)
    with store.transaction():
        TrustTables(store).put_node(NodeRecord("chassis-1", Standing.REVOKED, "again", NOW))
    assert record(1).serial in _loaded(memory).read_serials()
