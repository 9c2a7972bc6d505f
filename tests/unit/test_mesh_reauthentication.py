"""Two nodes and their charons as values: whoever renews, in whatever order, no child is missed.

The charons obey three rules that a real one was seen to obey: a child goes into any IKE_SA with
the configuration that is loaded; the responder's configuration is the one that is loaded when the
IKE_SA is made; loading a connection again touches no SA.
"""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geneveil.mesh.actions import (
    Action,
    ClearCredentials,
    Initiate,
    LoadConnection,
    LoadCrl,
    LoadIdentity,
    TerminateIkeSa,
    UnloadKey,
)
from geneveil.mesh.diff import diff_ike, track_attempts
from geneveil.mesh.initiation import is_initiator
from geneveil.mesh.memory import Memory, for_instance, record
from geneveil.mesh.reauthentication import is_stale, retiring_key_is_idle, track_stale
from geneveil.model.connection import (
    ChildSa,
    Connection,
    Identity,
    IkeSa,
    ObservedConnection,
    ObservedIke,
)

A, B = ("node1", "node2") if is_initiator("node1", "node2") else ("node2", "node1")
ADDRESS = {A: "192.0.2.1", B: "192.0.2.2"}
MIRRORED = {"in": "out", "out": "in"}


def identity(name: str, generation: int, retiring: str = "") -> Identity:
    own = f"{name}-{generation}"
    return Identity(own.encode(), b"", (b"ca",), own, ("ca",), retiring_key_id=retiring)


@dataclass
class Wire:
    """What both ends share: IKE_SAs, and who made which child at what time."""

    made: dict[int, "Shared"] = field(default_factory=dict)
    next_id: int = 0


@dataclass
class Shared:
    """One IKE_SA: the certificate and configuration of each end, and its children.

    `children`: the maker's name for it, the maker, when.
    """

    born: float
    configuration: dict[str, tuple[str, int]]
    children: list[tuple[str, str, float]] = field(default_factory=list)


@dataclass
class Node:
    """One end: its agent's memory and its charon."""

    name: str
    peer: str
    wire: Wire
    identity: Identity
    memory: Memory = field(default_factory=Memory)
    loaded: tuple[str, int] | None = None
    keys: set[str] = field(default_factory=set)
    certificates: set[str] = field(default_factory=set)

    @property
    def connection(self) -> Connection:
        return Connection(self.name, self.peer, ADDRESS[self.name], ADDRESS[self.peer])

    def renew(self, generation: int) -> None:
        self.identity = identity(self.name, generation, retiring=self.identity.fingerprint)

    def read(self, now: float) -> ObservedIke:
        conns = [ObservedConnection(self.connection.name, (), (), "", ())] if self.loaded else []
        sas = [self._sa(uid, sa, now) for uid, sa in self.wire.made.items()]
        certificates = frozenset(self.certificates)
        return ObservedIke("6", 1, tuple(conns), tuple(sas), frozenset(self.keys), certificates)

    def _sa(self, uid: int, sa: Shared, now: float) -> IkeSa:
        children = tuple(
            ChildSa(
                name if maker == self.name else MIRRORED[name], index, "INSTALLED", "TRANSPORT",
                1, 1, "AES_GCM_16", 256, True, False, 0, 0, 0, 0, int(now - at), 3000,
            )
            for index, (name, maker, at) in enumerate(sa.children)
        )  # fmt: skip
        return IkeSa(
            self.connection.name, uid, "ESTABLISHED", True, "", "", "", int(now - sa.born), 9000,
            children,
        )  # fmt: skip

    def turn(self, now: float, other: "Node") -> list[Action]:
        observed = self.read(now)
        memory = for_instance(self.memory, observed.instance)
        plan = (self.connection,)
        memory = replace(memory, attempts=track_attempts(memory, plan, observed, now))
        actions = diff_ike(plan, self.identity, observed, memory, now)
        for action in actions:
            memory = record(memory, action, self.apply(action, now, other), now)
        self.memory = memory
        if self.identity.retiring_key_id and self.identity.retiring_key_id not in self.keys:
            self.identity = replace(self.identity, retiring_key_id="")
        return actions

    def apply(self, action: Action, now: float, other: "Node") -> str:
        match action:
            case LoadIdentity(mine):
                self.keys.add(mine.fingerprint)
                self.certificates |= {mine.fingerprint, *mine.trust_fingerprints}
                return mine.fingerprint
            case LoadConnection(_, mine, salt):
                self.loaded = (mine.fingerprint, salt)
            case Initiate(_, child, _):
                self._initiate(str(child), now, other)
            case TerminateIkeSa(uid):
                del self.wire.made[uid]
            case UnloadKey(key):
                users = [s.configuration[self.name][0] for s in self.wire.made.values()]
                assert key not in users, "an IKE_SA still stands on the key"
                self.keys.discard(key)
            case LoadCrl() | ClearCredentials():
                pass
            case _:
                raise AssertionError(action)
        return ""

    def _initiate(self, child: str, now: float, other: "Node") -> None:
        assert self.loaded is not None
        if other.loaded is None:
            return
        for sa in self.wire.made.values():
            if sa.configuration[self.name] == self.loaded:
                sa.children.append((child, self.name, now))
                return
        self.wire.next_id += 1
        both = {self.name: self.loaded, other.name: other.loaded}
        self.wire.made[self.wire.next_id] = Shared(now, both, [(child, self.name, now)])


@dataclass
class Pair:
    """Both nodes, and a clock."""

    a: Node
    b: Node
    wire: Wire
    now: float = 1000.0

    def carried(self) -> set[str]:
        """The ends whose own traffic has an SA."""
        children = [child for sa in self.wire.made.values() for child in sa.children]
        return {maker if name == "out" else A if maker == B else B for name, maker, _at in children}

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        up = bool(self.wire.made)
        while self.now < end:
            self.now += 0.5
            for one, other in ((self.a, self.b), (self.b, self.a)):
                for action in one.turn(self.now, other):
                    if up and isinstance(action, Initiate):
                        # Whoever asks installs last: only one's own traffic may be asked for.
                        assert str(action.child) == "out"
                if up:
                    assert self.carried() == {A, B}, "a direction was without an SA"


@pytest.fixture
def pair() -> Pair:
    return make_pair()


def make_pair() -> Pair:
    wire = Wire()
    made = Pair(Node(A, B, wire, identity(A, 1)), Node(B, A, wire, identity(B, 1)), wire)
    made.run(30)
    return made


def assert_settled(pair: Pair, a: int, b: int) -> None:
    (sa,) = pair.wire.made.values()
    assert {sa.configuration[A][0], sa.configuration[B][0]} == {f"{A}-{a}", f"{B}-{b}"}
    assert pair.a.keys == {f"{A}-{a}"}
    assert pair.b.keys == {f"{B}-{b}"}
    assert pair.a.turn(pair.now, pair.b) == pair.b.turn(pair.now, pair.a) == []


def test_a_pair_comes_up_and_rests(pair: Pair) -> None:
    assert_settled(pair, 1, 1)


ORDERS = {
    "the initiator": ((0, A, 2),),
    "the other": ((0, B, 2),),
    "one after the other": ((0, A, 2), (40, B, 2)),
    "both at once": ((0, A, 2), (0, B, 2)),
    "while the first is under way": ((0, A, 2), (3, B, 2)),
    "the other way round": ((0, B, 2), (3, A, 2)),
    "shortly after": ((0, B, 2), (8, A, 2)),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
def test_whoever_renews_ends_with_one_ike_sa_that_stands_on_it(
    pair: Pair, order: tuple[tuple[int, str, int], ...]
) -> None:
    last = {A: 1, B: 1}
    for wait, name, generation in order:
        if wait:
            pair.run(wait)
        (pair.a if name == A else pair.b).renew(generation)
        last[name] = generation
    pair.run(60)
    assert_settled(pair, last[A], last[B])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["renew A", "renew B", "restart A", "restart B", "wait"]),
            st.floats(0.5, 45),
        ),
        max_size=6,
    )
)
def test_renewals_and_restarts_in_any_order_lose_nothing(
    history: list[tuple[str, float]],
) -> None:
    pair = make_pair()
    generations = {A: 1, B: 1}
    for event, seconds in history:
        node = pair.a if event.endswith("A") else pair.b
        if event.startswith("renew") and not node.identity.retiring_key_id:
            generations[node.name] += 1
            node.renew(generations[node.name])
        elif event.startswith("restart"):
            node.memory = Memory()
        pair.run(seconds)
    pair.run(200)
    certificates = {
        sa.configuration[node.name][0]
        for sa in pair.wire.made.values()
        for node in (pair.a, pair.b)
    }
    assert certificates == {f"{A}-{generations[A]}", f"{B}-{generations[B]}"}
    assert len(pair.wire.made) <= 2


def test_a_rekeyed_ike_sa_does_not_look_as_if_the_new_certificate_had_made_it() -> None:
    """Re-authentication fails for hours; meanwhile everything is rekeyed, and looks young."""
    connection = Connection(A, B, ADDRESS[A], ADDRESS[B])
    new = identity(A, 2, retiring="old-key")

    def child_sa(uid: int, age: float) -> ChildSa:
        return ChildSa(
            "out", uid, "INSTALLED", "TRANSPORT", 1, 1, "AES_GCM_16", 256, True, False, 0, 0, 0, 0,
            int(age), 3000,
        )  # fmt: skip

    def ike_sa(uid: int, age: float, *children: ChildSa) -> ObservedIke:
        sa = IkeSa(
            connection.name, uid, "ESTABLISHED", True, "", "", "", int(age), 9000, children
        )  # fmt: skip
        return ObservedIke("6", 1, (), (sa,), frozenset({"old-key"}), frozenset())

    memory = record(Memory(), LoadConnection(connection, new), "", 1000.0)
    seen = [
        (1001.0, ike_sa(7, 500, child_sa(3, 400))),
        (2000.0, ike_sa(7, 1499, child_sa(4, 5))),  # the child was rekeyed
        (9000.0, ike_sa(8, 5, child_sa(4, 7005))),  # the IKE_SA was
        (9010.0, ike_sa(8, 15, child_sa(5, 5))),  # and the child again
    ]
    for now, observed in seen:
        memory = replace(memory, stale=track_stale(memory, observed, now))
        assert is_stale(observed.sas[0], memory, now)
        assert not retiring_key_is_idle((connection,), new, observed, memory, now)
    fresh = ike_sa(9, 2, child_sa(6, 2))
    memory = replace(memory, stale=track_stale(memory, fresh, 9020.0))
    assert retiring_key_is_idle((connection,), new, fresh, memory, 9020.0)
    assert memory.stale == {}
