"""The difference between plan and charon, against a charon of values that does what it is told."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geneveil.mesh.actions import (
    Action,
    ClearCredentials,
    Initiate,
    LoadConnection,
    LoadCrl,
    LoadIdentity,
    TerminateChildSa,
    TerminateIkeSa,
    UnloadConnection,
    UnloadKey,
)
from geneveil.mesh.diff import diff_ike, next_attempt_at, track_attempts
from geneveil.mesh.initiation import is_initiator
from geneveil.mesh.memory import Memory, for_instance, record
from geneveil.model.connection import (
    ChildSa,
    Connection,
    Identity,
    IkeSa,
    ObservedConnection,
    ObservedIke,
)
from tests.charon_contract import CONTRACT, Charon

IDENTITY = Identity(b"certificate", b"key", (b"authority",), "f-own", ("f-ca",))
RENEWED = replace(IDENTITY, certificate_der=b"renewed", fingerprint="f-new")
ME = "node1"
PEER = next(n for n in ("node2", "node3", "node4", "node5") if is_initiator(ME, n))
WAITED_FOR = next(n for n in ("node2", "node3", "node4", "node5") if not is_initiator(ME, n))


def connection(peer: str = PEER, last: int = 2, ports: tuple[int, ...] = (6081,)) -> Connection:
    return Connection(ME, peer, "192.0.2.1", f"192.0.2.{last}", ports)


def child(
    name: str, unique_id: int, state: str = "INSTALLED", encapsulated: bool = False
) -> ChildSa:
    return ChildSa(
        name, unique_id, state, "TRANSPORT", unique_id * 2, unique_id * 2 + 1, "AES_GCM_16",
        256, True, encapsulated, 0, 0, 0, 0, 10, 3000,
    )  # fmt: skip


@dataclass
class FakeCharon:
    """charon as values: see tests/charon_contract.py. Every initiation succeeds at once, unless
    `reachable` says no."""

    connections: dict[str, Connection] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=lambda: ["vpn", "geneve"])
    sas: list[IkeSa] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    certificates: set[str] = field(default_factory=set)
    secrets: set[str] = field(default_factory=set)
    instance: int = 1
    reachable: bool = True
    next_id: int = 1
    done: list[Action] = field(default_factory=list)
    first: Identity = IDENTITY
    second: Identity = RENEWED
    configurations: dict[str, tuple[Connection, str, int]] = field(default_factory=dict)
    made_with: dict[int, tuple[Connection, str, int]] = field(default_factory=dict)

    def read(self) -> ObservedIke:
        own = [
            ObservedConnection(
                c.name, (c.local_ip,), (c.remote_ip,), c.remote_chassis, ("in", "out")
            )
            for c in self.connections.values()
        ]
        others = [ObservedConnection(name, (), (), "", ()) for name in self.foreign]
        return ObservedIke(
            "6", self.instance, (*own, *others), tuple(self.sas), frozenset(self.keys),
            frozenset(self.certificates), frozenset(self.secrets),
        )  # fmt: skip

    def apply(self, action: Action) -> str:
        self.done.append(action)
        match action:
            case LoadIdentity(identity):
                key_id = f"key of {identity.fingerprint}"
                self.keys.add(key_id)
                self.certificates |= {identity.fingerprint, *identity.trust_fingerprints}
                return key_id
            case LoadCrl(_, fingerprint):
                self.certificates.add(fingerprint)
            case UnloadKey(key_id):
                self.keys.discard(key_id)
            case ClearCredentials():
                assert not self.foreign, "what others loaded is gone"
                assert not self.secrets
                self.keys, self.certificates = set(), set()
            case LoadConnection(new, identity, salt):
                assert self.keys, "a connection came before its key"
                self.connections[new.name] = new
                self.configurations[new.name] = (new, identity.fingerprint, salt)
            case UnloadConnection(name):
                assert name not in self.foreign
                self.connections.pop(name, None)
            case TerminateIkeSa(unique_id):
                self.sas = [sa for sa in self.sas if sa.unique_id != unique_id]
            case TerminateChildSa(unique_id, _, _):
                self.sas = [
                    replace(sa, children=tuple(c for c in sa.children if c.unique_id != unique_id))
                    for sa in self.sas
                ]
            case Initiate(name, wanted, _):
                self._initiate(name, str(wanted))
            case _:
                raise AssertionError(action)
        return ""

    def _initiate(self, name: str, wanted: str) -> None:
        assert name in self.connections, "initiated before it was loaded"
        if not self.reachable:
            return
        self.next_id += 1
        new = child(wanted, self.next_id, encapsulated=self.connections[name].force_encapsulation)
        for index, sa in enumerate(self.sas):
            # charon reuses an IKE_SA only if it was made with the configuration that is loaded.
            if self.made_with.get(sa.unique_id) == self.configurations[name]:
                self.sas[index] = replace(sa, children=(*sa.children, new))
                return
        self.made_with[self.next_id] = self.configurations[name]
        self.sas.append(ike_sa(name, self.next_id, (new,)))

    def await_asked(self, expected: list[int]) -> None:
        assert sorted(len(sa.children) for sa in self.sas) == expected

    def crash(self) -> None:
        self.connections, self.sas, self.keys, self.certificates = {}, [], set(), set()
        self.instance += 1


def ike_sa(
    name: str,
    unique_id: int,
    children: tuple[ChildSa, ...],
    state: str = "ESTABLISHED",
    age: int = 60,
) -> IkeSa:
    return IkeSa(name, unique_id, state, True, "192.0.2.1", "192.0.2.2", PEER, age, 9000, children)


def turn(
    charon: FakeCharon,
    memory: Memory,
    plan: tuple[Connection, ...],
    now: float = 0.0,
    identity: Identity | None = IDENTITY,
    broken: frozenset[str] = frozenset(),
) -> tuple[list[Action], Memory]:
    observed = charon.read()
    memory = for_instance(memory, observed.instance)
    memory = replace(memory, attempts=track_attempts(memory, plan, observed, now))
    actions = diff_ike(plan, identity, observed, memory, now, broken=broken)
    for action in actions:
        memory = record(memory, action, charon.apply(action), now)
    return actions, memory


def kinds(actions: list[Action]) -> list[str]:
    return [type(action).__name__ for action in actions]


@pytest.mark.parametrize("question", CONTRACT, ids=lambda question: question.__name__)
def test_the_charon_of_values_is_like_a_real_one(question: Callable[[Charon], None]) -> None:
    question(FakeCharon(foreign=[]))


def test_from_nothing_to_everything_in_one_turn_and_in_order() -> None:
    charon = FakeCharon()
    actions, memory = turn(charon, Memory(), (connection(),))
    assert kinds(actions) == ["LoadIdentity", "LoadConnection", "Initiate", "Initiate"]
    assert [str(a.child) for a in actions if isinstance(a, Initiate)] == ["in", "out"]
    again, memory = turn(charon, memory, (connection(),))
    assert kinds(again) == ["LoadConnection"]  # from now on it differs from what the IKE_SA has
    assert turn(charon, memory, (connection(),))[0] == []


def test_a_new_agent_loads_again_and_touches_no_sa() -> None:
    charon = FakeCharon()
    turn(charon, Memory(), (connection(),))
    before = list(charon.sas)
    actions, memory = turn(charon, Memory(), (connection(),))
    assert kinds(actions) == ["LoadIdentity", "LoadConnection"]
    assert charon.sas == before
    assert turn(charon, memory, (connection(),))[0] == []


def test_a_charon_that_lost_its_memory_gets_everything_again() -> None:
    charon = FakeCharon()
    _, memory = turn(charon, Memory(), (connection(),))
    charon.crash()
    actions, _ = turn(charon, memory, (connection(),), now=100)
    assert kinds(actions) == ["LoadIdentity", "LoadConnection", "Initiate", "Initiate"]


@pytest.mark.parametrize("lost", ["keys", "certificates", "connections"])
def test_what_somebody_cleared_by_hand_is_loaded_again(lost: str) -> None:
    charon = FakeCharon()
    _, memory = turn(charon, Memory(), (connection(),))
    getattr(charon, lost).clear()
    actions, memory = turn(charon, memory, (connection(),))
    assert "LoadConnection" in kinds(actions)
    assert "TerminateIkeSa" not in kinds(actions)
    assert turn(charon, memory, (connection(),))[0] == []


def test_a_peer_that_is_gone_loses_connection_and_sas_and_the_others_nothing() -> None:
    charon = FakeCharon()
    both = (connection(last=2), connection(last=3))
    _, memory = turn(charon, Memory(), both)
    _, memory = turn(charon, memory, both)
    kept = [sa for sa in charon.sas if sa.connection == both[0].name]
    actions, _ = turn(charon, memory, both[:1])
    assert kinds(actions) == ["UnloadConnection", "TerminateIkeSa"]
    assert charon.sas == kept


def test_what_does_not_carry_our_prefix_is_never_touched() -> None:
    foreign = [ike_sa("vpn", 90, (child("net", 91),)), ike_sa("geneve", 92, ())]
    charon = FakeCharon(sas=list(foreign))
    _, memory = turn(charon, Memory(), (connection(),))
    turn(charon, memory, ())
    assert charon.sas == foreign
    assert charon.foreign == ["vpn", "geneve"]


DROPPING = replace(
    IDENTITY,
    trust_bundle_der=(b"another",),
    trust_fingerprints=("f-another",),
    dropped_fingerprints=frozenset({"f-ca"}),
)


def test_an_authority_that_was_dropped_is_cleared_where_charon_is_ours_alone() -> None:
    charon = FakeCharon(foreign=[])
    _, memory = turn(charon, Memory(), (connection(),))
    before = list(charon.sas)
    actions, memory = turn(charon, memory, (connection(),), identity=DROPPING)
    assert kinds(actions) == ["ClearCredentials", "LoadIdentity", "LoadConnection"]
    assert charon.certificates == {"f-own", "f-another"}
    assert charon.sas == before
    assert turn(charon, memory, (connection(),), identity=DROPPING)[0] == []


def test_whoever_is_on_a_list_is_not_let_in_before_it_is_loaded() -> None:
    """What was cleared, or a new authority, is believed only when its list is there."""
    charon = FakeCharon(foreign=[])
    listed = replace(IDENTITY, crls_der=(b"list",), crl_fingerprints=("f-list",))
    actions, memory = turn(charon, Memory(), (connection(),), identity=listed)
    assert kinds(actions)[:3] == ["LoadCrl", "LoadIdentity", "LoadConnection"]
    dropping = replace(DROPPING, crls_der=(b"other",), crl_fingerprints=("f-other",))
    actions, _ = turn(charon, memory, (connection(),), identity=dropping)
    assert kinds(actions) == ["ClearCredentials", "LoadCrl", "LoadIdentity", "LoadConnection"]


@pytest.mark.parametrize("sign", ["connection", "SA", "key", "secret"])
def test_where_another_owner_shows_in_charon_nothing_is_cleared(sign: str) -> None:
    charon = FakeCharon(foreign=["vpn"] if sign == "connection" else [])
    _, memory = turn(charon, Memory(), (connection(),))
    if sign == "SA":  # of a connection that was unloaded since
        charon.sas.append(ike_sa("vpn", 90, (child("net", 91),)))
    if sign == "key":
        charon.keys.add("theirs")
    if sign == "secret":
        charon.secrets.add("theirs")
    actions, memory = turn(charon, memory, (connection(),), identity=DROPPING)
    assert kinds(actions) == ["LoadIdentity", "LoadConnection"]
    # The new connection accepts the new authority alone; the old one is there, and of no use.
    (loaded,) = (a for a in actions if isinstance(a, LoadConnection))
    assert loaded.identity.trust_bundle_der == (b"another",)
    assert charon.certificates == {"f-own", "f-ca", "f-another"}
    assert turn(charon, memory, (connection(),), identity=DROPPING)[0] == []


def test_a_new_certificate_is_loaded_and_no_sa_is_lost() -> None:
    charon = FakeCharon()
    _, memory = turn(charon, Memory(), (connection(),))
    before = list(charon.sas)
    actions, memory = turn(charon, memory, (connection(),), identity=RENEWED)
    assert kinds(actions) == ["LoadIdentity", "LoadConnection"]
    assert charon.sas == before
    assert turn(charon, memory, (connection(),), identity=RENEWED)[0] == []


def test_without_an_identity_nothing_is_begun_and_nothing_is_ended() -> None:
    charon = FakeCharon()
    _, memory = turn(charon, Memory(), (connection(),))
    before = list(charon.sas)
    assert turn(charon, memory, (connection(),), identity=None)[0] == []
    assert charon.sas == before


def test_without_an_identity_a_peer_that_is_gone_is_still_closed() -> None:
    charon = FakeCharon()
    _, memory = turn(charon, Memory(), (connection(),))
    actions, _ = turn(charon, memory, (), identity=None)
    assert kinds(actions) == ["UnloadConnection", "TerminateIkeSa"]


def test_one_missing_child_is_asked_for_alone() -> None:
    charon = FakeCharon()
    _, memory = turn(charon, Memory(), (connection(),))
    charon.sas = [replace(sa, children=sa.children[:1]) for sa in charon.sas]
    actions, _ = turn(charon, memory, (connection(),), now=50)
    assert [str(a.child) for a in actions if isinstance(a, Initiate)] == ["out"]


def test_attempts_wait_longer_and_longer_and_stop_when_the_pair_is_up() -> None:
    charon = FakeCharon(reachable=False)
    memory, times = Memory(), []
    for tenth in range(1000):
        actions, memory = turn(charon, memory, (connection(),), now=tenth / 10)
        times += [tenth / 10] if "Initiate" in kinds(actions) else []
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert times[0] == 0.0
    assert 0.1 <= waits[0] <= 0.4
    assert all(wait <= 15 * 1.25 + 0.1 for wait in waits)
    assert 9 <= len(times) <= 14
    charon.reachable = True
    turn_actions, memory = turn(charon, memory, (connection(),), now=200)
    assert "Initiate" in kinds(turn_actions)
    _, memory = turn(charon, memory, (connection(),), now=201)
    assert memory.attempts == {}


def test_the_next_attempt_is_known_beforehand() -> None:
    charon = FakeCharon(reachable=False)
    plan = (connection(), connection(WAITED_FOR, 3))
    _, memory = turn(charon, Memory(), plan, now=100.0)
    times: list[float] = []
    while (due := next_attempt_at(plan, memory, times[-1] if times else 100.0)) is not None:
        assert due > (times[-1] if times else 100.0)
        times.append(due)
        actions, memory = turn(charon, memory, plan, now=due)
        assert "Initiate" in kinds(actions)
        if due > 200.0:
            break
    assert times[0] <= 100.4
    assert len(times) >= 15
    charon.reachable = True
    _, memory = turn(charon, memory, plan, now=300.0)
    _, memory = turn(charon, memory, plan, now=301.0)
    assert next_attempt_at(plan, memory, 301.0) is None


def test_the_side_that_waits_steps_in_after_its_grace() -> None:
    charon = FakeCharon()
    memory = Memory()
    plan = (connection(WAITED_FOR),)
    for now in (0.0, 2.0, 4.9):
        actions, memory = turn(charon, memory, plan, now=now)
        assert "Initiate" not in kinds(actions)
    actions, memory = turn(charon, memory, plan, now=7.6)
    assert kinds(actions) == ["Initiate", "Initiate"]


def test_nothing_is_begun_while_an_exchange_is_under_way() -> None:
    name = connection().name
    charon = FakeCharon(sas=[ike_sa(name, 5, (), state="CONNECTING")])
    assert "Initiate" not in kinds(turn(charon, Memory(), (connection(),))[0])
    busy = replace(ike_sa(name, 5, (child("in", 6),)), tasks=("CHILD_CREATE",))
    charon = FakeCharon(sas=[busy])
    assert "Initiate" not in kinds(turn(charon, Memory(), (connection(),))[0])


def test_what_the_peer_is_making_is_not_made_twice() -> None:
    wanted = connection()
    name = wanted.name
    begun = replace(
        ike_sa("(unnamed)", 5, (), state="CONNECTING"),
        is_initiator=False, remote_ip=wanted.remote_ip, established_seconds=None,
    )  # fmt: skip
    half = replace(ike_sa(name, 5, (child("in", 6),), age=0), is_initiator=False)
    charon, memory = FakeCharon(sas=[begun]), Memory()
    actions, memory = turn(charon, memory, (wanted,), 100.0)
    assert "Initiate" not in kinds(actions)
    charon.sas = [half]
    actions, memory = turn(charon, memory, (wanted,), 100.5)
    assert "Initiate" not in kinds(actions)
    charon.sas = [replace(half, established_seconds=3)]  # it should have made the other long ago
    actions, memory = turn(charon, memory, (wanted,), 103.5)
    assert [str(a.child) for a in actions if isinstance(a, Initiate)] == ["out"]
    # Whoever begins without end, in the peer's name, does not keep this node from it.
    charon, memory = FakeCharon(sas=[begun]), Memory()
    turn_at = [turn(charon, memory, (wanted,), 100.0)]
    turn_at.append(turn(charon, turn_at[0][1], (wanted,), 101.1))
    assert ["Initiate" in kinds(actions) for actions, _ in turn_at] == [False, True]
    # Nor does one from elsewhere.
    charon = FakeCharon(sas=[replace(begun, remote_ip="192.0.2.77")])
    assert "Initiate" in kinds(turn(charon, Memory(), (wanted,), 100.0)[0])


@pytest.mark.parametrize(("peer", "closes"), [(PEER, True), (WAITED_FOR, False)])
def test_the_initiator_closes_the_older_double(peer: str, closes: bool) -> None:
    wanted = connection(peer)
    children = (child("in", 1), child("out", 2))
    older, newer = ike_sa(wanted.name, 1, children, age=50), ike_sa(wanted.name, 2, children, age=9)
    charon = FakeCharon(sas=[older, newer])
    turn(charon, Memory(), (wanted,))
    assert charon.sas == ([newer] if closes else [older, newer])


def test_a_double_stays_until_the_other_is_complete_and_settled() -> None:
    wanted = connection()
    whole = (child("in", 1), child("out", 2))
    older = ike_sa(wanted.name, 1, whole, age=50)
    for younger in (
        ike_sa(wanted.name, 2, whole[:1], age=40),
        ike_sa(wanted.name, 2, whole, age=3),
    ):
        charon = FakeCharon(sas=[older, younger])
        actions, _ = turn(charon, Memory(), (wanted,))
        assert older in charon.sas
        assert sum(isinstance(a, TerminateIkeSa) for a in actions) <= 1


@pytest.mark.parametrize("peer", [PEER, WAITED_FOR])
def test_once_encapsulation_is_forced_a_new_ike_sa_takes_over_before_the_old_one_goes(
    peer: str,
) -> None:
    charon = FakeCharon()
    _, memory = turn(charon, Memory(), (connection(peer),), now=0)
    _, memory = turn(charon, memory, (connection(peer),), now=8)
    (plain,) = charon.sas
    forced = replace(connection(peer), force_encapsulation=True)
    actions, memory = turn(charon, memory, (forced,), now=10)
    assert kinds(actions) == ["LoadConnection"]
    actions, memory = turn(charon, memory, (forced,), now=11)
    assert kinds(actions) == ["Initiate", "Initiate"]
    assert plain in charon.sas
    (new,) = (sa for sa in charon.sas if sa is not plain)
    assert {c.name for c in new.children if c.encapsulated} == {"in", "out"}
    younger = tuple(replace(c, installed_seconds=8) for c in new.children)
    charon.sas[1] = replace(new, established_seconds=8, children=younger)
    for now in (19, 20):
        _, memory = turn(charon, memory, (forced,), now=now)
    assert (plain in charon.sas) is not is_initiator(ME, peer)
    assert len(charon.sas) == 1 + (plain in charon.sas)


def test_a_port_that_is_no_tunnels_any_more_loses_its_children_alone() -> None:
    charon = FakeCharon()
    _, memory = turn(charon, Memory(), (connection(ports=(6081, 7000)),))
    actions, _ = turn(charon, memory, (connection(),), now=10)
    assert kinds(actions) == ["LoadConnection", "TerminateChildSa", "TerminateChildSa"]
    assert [c.name for sa in charon.sas for c in sa.children] == ["in", "out"]


@pytest.mark.parametrize("peer", [PEER, WAITED_FOR])
def test_a_pair_that_the_kernel_lacks_is_closed_and_begun_at_once_and_no_other(peer: str) -> None:
    other = connection(last=9)
    plan = (connection(peer), other)
    charon = FakeCharon()
    memory = Memory()
    for now in (0.0, 9.0, 100.0):
        _, memory = turn(charon, memory, plan, now)
    kept = [sa for sa in charon.sas if sa.connection == other.name]
    broken = frozenset({plan[0].name})
    actions, memory = turn(charon, memory, plan, 101.0, broken=broken)
    assert kinds(actions) == ["Initiate", "Initiate", "TerminateIkeSa"]
    assert {sa.connection for sa in charon.sas} == {c.name for c in plan}
    assert [sa for sa in charon.sas if sa.connection == other.name] == kept
    (anew,) = (sa for sa in charon.sas if sa not in kept)
    assert [child.name for child in anew.children] == ["in", "out"]
    actions, memory = turn(charon, memory, plan, 101.3)
    assert kinds(actions) == ["LoadConnection"]  # what is made next is another one again


def test_what_may_come_to_the_sa_that_is_being_closed_is_begun_when_that_is_gone() -> None:
    plan = (connection(),)
    whole = (child("in", 1), child("out", 2))
    charon = FakeCharon(sas=[ike_sa(plan[0].name, 7, whole)])
    broken = frozenset({plan[0].name})
    actions, memory = turn(charon, Memory(), plan, 100.0, broken=broken)  # nobody knows its salt
    assert "Initiate" not in kinds(actions)
    assert charon.sas == []
    actions, memory = turn(charon, memory, plan, 100.3)
    assert kinds(actions).count("Initiate") == 2


def test_a_kernel_that_is_emptied_again_and_again_is_repaired_less_and_less_often() -> None:
    charon, memory, plan, times = FakeCharon(), Memory(), (connection(),), []
    broken = frozenset({plan[0].name})
    for tenth in range(1000):
        is_up = bool(charon.sas)
        actions, memory = turn(
            charon, memory, plan, tenth / 10, broken=broken if is_up else frozenset()
        )
        times += [tenth / 10] if "TerminateIkeSa" in kinds(actions) else []
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits[0] <= 1.6
    assert waits[-1] >= 10
    assert 7 <= len(times) <= 12
    _, memory = turn(charon, memory, plan, 200.0)
    actions, _ = turn(charon, memory, plan, 201.0, broken=broken)
    assert "TerminateIkeSa" in kinds(actions)


PLANS = st.lists(st.integers(2, 5), unique=True, max_size=4)
EVENTS = st.one_of(
    st.tuples(st.just("plan"), PLANS),
    st.sampled_from([("crash", None), ("agent", None), ("cleared", None), ("sas lost", None)]),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, min_size=1, max_size=12), PLANS)
def test_whatever_happened_before_the_end_is_the_same(
    history: list[tuple[str, list[int] | None]], last: list[int]
) -> None:
    """Path independence: after a few quiet turns charon has what the plan says, and no more."""
    charon, memory, plan, now = FakeCharon(), Memory(), tuple[Connection, ...](), 0.0
    for event, detail in history:
        now += 40.0
        if event == "plan":
            plan = tuple(connection(last=n) for n in detail or ())
        elif event == "crash":
            charon.crash()
        elif event == "agent":
            memory = Memory()
        elif event == "cleared":
            charon.connections.clear()
        else:
            charon.sas.clear()
        _, memory = turn(charon, memory, plan, now)
    plan = tuple(connection(last=n) for n in last)
    for _ in range(3):
        now += 40.0
        actions, memory = turn(charon, memory, plan, now)
    assert actions == []
    assert charon.connections == {c.name: c for c in plan}
    assert {sa.connection for sa in charon.sas} == {c.name for c in plan}
    assert all([c.name for c in sa.children] == ["in", "out"] for sa in charon.sas)


def test_a_double_that_was_told_to_close_is_not_told_again() -> None:
    wanted = connection()
    whole = (child("in", 1), child("out", 2))
    older, newer = ike_sa(wanted.name, 1, whole, age=60), ike_sa(wanted.name, 2, whole, age=30)
    assert is_initiator(ME, PEER), "it is this node that closes doubles"
    actions, _ = turn(FakeCharon(sas=[older, newer]), Memory(), (wanted,))
    assert [a.unique_id for a in actions if isinstance(a, TerminateIkeSa)] == [1]
    told = replace(older, tasks=("IKE_DPD", "IKE_DELETE"))
    actions, _ = turn(FakeCharon(sas=[told, newer]), Memory(), (wanted,))
    assert not [a for a in actions if isinstance(a, TerminateIkeSa)]
