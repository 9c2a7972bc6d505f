"""What a look costs: what changed; everything is looked at seldom, or when it matters."""

import queue
from collections.abc import Callable
from typing import Any

import pytest

from geneveil.kube.csr_wire import parse_signing_request
from geneveil.kube.errors import ApiRefusedError
from geneveil.kube.kinds import CLUSTER_IPSECS, NODE_IPSECS, NODES, SIGNING_REQUESTS
from geneveil.kube.port import Change, Document, Kind
from geneveil.model.errors import DaemonError
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.confirmations import Confirmations
from geneveil.operator.kubernetes.answers import AnswerDesk
from geneveil.operator.kubernetes.caretaker import Caretaker
from geneveil.operator.kubernetes.cluster_cache import ClusterCache
from geneveil.operator.kubernetes.duties import WHOLE_SECONDS, Duties
from geneveil.operator.kubernetes.foundation import Foundation, Means, lay_foundation
from geneveil.operator.kubernetes.ledger import LOG_CONFIG_MAP
from geneveil.operator.kubernetes.orders import READMIT, REVOKE
from geneveil.operator.kubernetes.session.loop import Session, _News
from geneveil.operator.kubernetes.signer import Denial
from geneveil.operator.kubernetes.store import Place
from tests.memory_kube_api import Memory
from tests.unit.test_operator_kubernetes_state import NOW, Fixed, _sealed


def _object(name: str, **more: Any) -> Document:
    return {"metadata": {"name": name, "uid": f"uid-{name}", **more}}


def _beat(second: int) -> Document:
    """A NodeIPsec as a heartbeat leaves it."""
    return {**_object("node-1"), "status": {"heartbeatTime": f"2026-05-01T12:00:{second:02}Z"}}


def _ordered(**orders: str) -> Document:
    return _object("node-1", annotations=orders)


def _fill(memory: Memory) -> None:
    """The API server that the cache is of."""
    for name in ("node-1", "node-2"):
        memory.create(NODES, _object(name))
    for name in ("node-1", "node-9"):
        memory.create(NODE_IPSECS, _object(name))


@pytest.fixture
def cache() -> ClusterCache:
    cache = ClusterCache()
    cache.replace(NODES, [_object("node-1"), _object("node-2")])
    cache.replace(NODE_IPSECS, [_object("node-1"), _object("node-9")])
    return cache


def test_what_is_lacking_and_left_over_is_kept_up(cache: ClusterCache) -> None:
    assert (cache.lacking, cache.leftover) == ({"node-2"}, {"node-9"})
    cache.change(NODE_IPSECS, Change.ADDED, _object("node-2"))
    cache.change(NODES, Change.ADDED, _object("node-9"))
    assert (cache.lacking, cache.leftover) == (set(), set())
    cache.change(NODES, Change.DELETED, _object("node-1"))
    cache.change(NODE_IPSECS, Change.DELETED, _object("node-9"))
    assert (cache.lacking, cache.leftover) == ({"node-9"}, {"node-1"})
    cache.replace(NODES, [])
    assert (cache.lacking, cache.leftover) == (set(), {"node-1", "node-2"})
    cache.replace(NODE_IPSECS, [])
    assert (cache.lacking, cache.leftover) == (set(), set())


def test_node_ipsecs_are_made_and_removed(cache: ClusterCache) -> None:
    memory = Memory()
    _fill(memory)
    caretaker = Caretaker(memory, cache)
    for _ in range(2):
        caretaker.keep_node_ipsecs()
        made = {name for plural, name in memory.objects if plural == NODE_IPSECS.plural}
        assert made == {"node-1", "node-2"} == cache.node_ipsecs.keys()
    assert len(memory.writes) == 5  # the second look had nothing to do
    caretaker.close()


def _request(name: str, **status: Any) -> Document:
    made = _object(name, creationTimestamp="2026-05-01T12:00:00Z")
    return {**made, "spec": {"request": "", "signerName": "s"}, "status": status}


def test_requests_are_unanswered_until_they_are_answered(cache: ClusterCache) -> None:
    cache.replace(SIGNING_REQUESTS, [_request("a"), _request("b"), _request("c")])
    cache.change(SIGNING_REQUESTS, Change.MODIFIED, _request("a", certificate="eA=="))
    denied = [{"type": "Denied", "status": "True"}]
    cache.change(SIGNING_REQUESTS, Change.MODIFIED, _request("b", conditions=denied))
    assert list(cache.unanswered) == ["c"]
    assert list(cache.requests) == ["a", "b", "c"]
    cache.change(SIGNING_REQUESTS, Change.DELETED, _request("c"))
    assert not cache.unanswered


_CHANGES: dict[str, tuple[Callable[[ClusterCache], None], bool]] = {
    "a Node is gone": (lambda c: c.change(NODES, Change.DELETED, _object("node-1")), True),
    "a list lacks a Node": (lambda c: c.replace(NODES, [_object("node-2")]), True),
    "a person's word": (
        lambda c: c.change(NODE_IPSECS, Change.MODIFIED, _ordered(**{REVOKE: "keyCompromise"})),
        True,
    ),
    "the switch": (lambda c: c.change(CLUSTER_IPSECS, Change.MODIFIED, _object("cluster")), True),
    "a heartbeat": (lambda c: c.change(NODE_IPSECS, Change.MODIFIED, _beat(1)), False),
    "a Node is new": (lambda c: c.change(NODES, Change.ADDED, _object("node-3")), False),
    "a request": (lambda c: c.change(SIGNING_REQUESTS, Change.ADDED, _request("a")), False),
}


@pytest.mark.parametrize("case", _CHANGES)
def test_what_is_urgent(cache: ClusterCache, case: str) -> None:
    change, is_urgent = _CHANGES[case]
    cache.is_urgent = False
    change(cache)
    assert cache.is_urgent is is_urgent


def test_a_word_is_urgent_once(cache: ClusterCache) -> None:
    for orders, is_urgent in (
        ({REVOKE: "keyCompromise"}, True),
        ({REVOKE: "keyCompromise"}, False),
        ({READMIT: "2026-05-01T12:00:00Z"}, True),
    ):
        cache.is_urgent = False
        cache.change(NODE_IPSECS, Change.MODIFIED, _ordered(**orders))
        assert cache.is_urgent is is_urgent
        assert cache.ordered == {"node-1"}
    cache.change(NODE_IPSECS, Change.MODIFIED, _object("node-1"))
    assert not cache.ordered


class _Looks:
    """A leader's duties at a time that the test says, and how often it looked at everything."""

    def __init__(self, cache: ClusterCache, monkeypatch: pytest.MonkeyPatch) -> None:
        self.memory = memory = Memory()
        _sealed(memory).close()
        _fill(memory)
        cache.change(CLUSTER_IPSECS, Change.ADDED, _object("cluster"))
        memory.create(CLUSTER_IPSECS, _object("cluster"))
        draw = lambda size: b"\x07" * size  # noqa: E731
        means = Means(Place(memory, "n"), Fixed(), draw, cache, Confirmations())
        self.seconds, self.count = 0.0, 0
        self.duties = Duties(means, lambda: self.seconds, "geneveil.io/node")
        self.base = self.found(means)
        self.means = means
        self.failure: DaemonError | None = None
        monkeypatch.setattr(Caretaker, "revoke_the_gone", self._counted)

    def found(self, means: Means) -> Foundation:
        base = lay_foundation(means)
        assert base is not None
        return base

    def _counted(self, *arguments: Any) -> None:
        self.count += 1
        if self.failure is not None:
            raise self.failure

    def look(self) -> int:
        """Look; how many looks at everything there were so far."""
        self.duties.do(self.base)
        return self.count


def test_changes_alone_bring_no_look_at_everything(
    cache: ClusterCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = _Looks(cache, monkeypatch)
    assert looks.look() == 1
    for second in range(50):
        cache.change(NODE_IPSECS, Change.MODIFIED, _beat(second))
        assert looks.look() == 1
    looks.seconds += WHOLE_SECONDS
    assert (looks.look(), looks.look()) == (2, 2)
    cache.is_urgent = True
    assert (looks.look(), looks.look()) == (3, 3)
    looks.base = looks.found(looks.means)  # the store was read anew
    assert (looks.look(), looks.look()) == (4, 4)
    looks.duties.close()


def test_a_look_at_everything_that_failed_is_due_again(
    cache: ClusterCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = _Looks(cache, monkeypatch)
    looks.failure = DaemonError("away")
    for count in (1, 2):
        with pytest.raises(DaemonError):
            looks.look()
        assert looks.count == count
        assert cache.is_urgent
    looks.failure = None
    assert (looks.look(), looks.look()) == (3, 3)
    looks.duties.close()


def test_objects_that_cannot_be_made_are_in_no_ones_way(
    cache: ClusterCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook that refuses NodeIPsecs must not keep a revocation back."""
    looks = _Looks(cache, monkeypatch)

    def refuse(caretaker: Caretaker) -> None:
        raise ApiRefusedError(403, "create nodeipsecs/node-2")

    monkeypatch.setattr(Caretaker, "keep_node_ipsecs", refuse)
    with pytest.raises(ApiRefusedError):
        looks.look()
    assert (looks.count, cache.is_urgent) == (1, False)
    looks.duties.close()


def test_what_may_not_be_cleaned_is_in_no_ones_way(
    cache: ClusterCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook that keeps requests from being deleted must not hide policies that are gone."""
    looks = _Looks(cache, monkeypatch)
    with looks.base.store.transaction():
        looks.base.store.append_audit(AuditEvent(Event.REFUSED), NOW)

    def refuse(caretaker: Caretaker, now: object) -> None:
        raise ApiRefusedError(403, "delete certificatesigningrequests/a")

    monkeypatch.setattr(Caretaker, "clean_requests", refuse)
    with pytest.raises(ApiRefusedError):
        looks.duties.clean(looks.base)
    looks.duties.report(looks.base)
    told = str(looks.memory.objects["clusteripsecs", "cluster"]["status"])
    assert "what protects the installation is not whole" in told
    assert ("configmaps", LOG_CONFIG_MAP) in looks.memory.objects
    looks.duties.close()


class _Endless(queue.Queue[Any]):
    """News that come faster than they can be taken."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        return _News(NODE_IPSECS, change=Change.MODIFIED, document=_beat(1))


def test_news_without_a_pause_keep_no_look_waiting(cache: ClusterCache) -> None:
    means = Means(Place(Memory(), "n"), Fixed(), bytes, cache, Confirmations())
    session = Session(means, Memory(), "geneveil.io/node")
    session._news = _Endless()
    cache.take_reported()
    session._take_news(1.0)  # it ends
    assert cache.take_reported() == ["node-1"]


def test_one_answer_that_is_not_taken_is_in_no_ones_way() -> None:
    memory = Memory()
    requests = []
    for name in ("a", "b"):
        document = memory.create(SIGNING_REQUESTS, _request(name))
        requests.append(parse_signing_request(document))
    write = memory.replace

    def replace(kind: Kind, document: Document, subresource: str = "") -> Document:
        if document["metadata"]["name"] == "a":
            raise ApiRefusedError(422, "replace a")
        return write(kind, document, subresource)

    memory.replace = replace  # type: ignore[method-assign]
    desk = AnswerDesk(memory)
    written = desk.write([Denial(one, "no", "no") for one in requests], NOW)
    desk.close()
    assert written.uids == {"uid-a", "uid-b"}
    assert written.error is None
    assert "Denied" in str(memory.objects["certificatesigningrequests", "b"])


def test_what_was_approved_is_failed_and_not_denied() -> None:
    memory = Memory()
    approved = [{"type": "Approved", "status": "True"}]
    document = memory.create(SIGNING_REQUESTS, _request("a", conditions=approved))
    desk = AnswerDesk(memory)
    desk.write([Denial(parse_signing_request(document), "no", "why")], NOW)
    desk.close()
    status = memory.objects["certificatesigningrequests", "a"]["status"]
    assert [one["type"] for one in status["conditions"]] == ["Approved", "Failed"]


def test_what_fails_all_day_long_is_told_seldom(
    cache: ClusterCache, caplog: pytest.LogCaptureFixture
) -> None:
    means = Means(Place(Memory(), "n"), Fixed(), bytes, cache, Confirmations())
    session = Session(means, Memory(), "geneveil.io/node")

    def refused() -> None:
        raise ApiRefusedError(403, "apply clusteripsecs/cluster")

    for _ in range(100):
        session._try("report", refused)
    assert caplog.text.count("duty-failed") < 10
    session._try("clean", refused)  # another duty is not hidden by it
    assert 'duty="clean"' in caplog.text
