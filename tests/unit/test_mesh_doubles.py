"""Which of two IKE_SAs is kept, and when the other one may go."""

from dataclasses import replace

import pytest

from geneveil.mesh.actions import Action, RekeyChildSa, TerminateIkeSa
from geneveil.mesh.doubles import doubles, meets
from geneveil.mesh.initiation import is_initiator
from geneveil.mesh.memory import Memory, record
from geneveil.mesh.reauthentication import MOST_MOVES
from geneveil.model.connection import ChildSa, Connection, IkeSa

LOCAL, PEER = ("node1", "node2") if is_initiator("node1", "node2") else ("node2", "node1")
PAIR = Connection(LOCAL, PEER, "192.0.2.1", "192.0.2.2")
OTHER_END = replace(PAIR, local_chassis=PEER, remote_chassis=LOCAL)


def child(name: str, uid: int, age: int) -> ChildSa:
    return ChildSa(
        name, uid, "INSTALLED", "TRANSPORT", uid * 16, uid * 16 + 1, "AES_GCM_16", 256, True,
        False, 0, 0, 0, 0, age, 3000,
    )  # fmt: skip


def ike_sa(uid: int, age: int, in_age: int | None = None, names: str = "in out") -> IkeSa:
    ages = {"in": age if in_age is None else in_age, "out": age}
    children = tuple(child(n, uid * 10 + i, ages[n]) for i, n in enumerate(names.split()))
    return IkeSa(
        PAIR.name, uid, "ESTABLISHED", True, PAIR.local_ip, PAIR.remote_ip, PEER, age, 9000,
        children,
    )  # fmt: skip


def heard(sa: IkeSa) -> tuple[str, int]:
    return PAIR.local_ip, next(c.spi_in for c in sa.children if c.name == "in")


def sent(sa: IkeSa) -> tuple[str, int]:
    return PAIR.remote_ip, next(c.spi_out for c in sa.children if c.name == "out")


U, V = ike_sa(1, 20), ike_sa(2, 10)
SAME = ike_sa(3, 20)

CASES = {
    "nothing travels: the older one": (PAIR, (U, V), (), 1),
    "both through the newer one": (PAIR, (U, V), (heard(V), sent(V)), 1),
    "both through the older one": (PAIR, (U, V), (heard(U), sent(U)), 2),
    "this node still sends through the older one": (PAIR, (U, V), (sent(U), heard(V)), None),
    "the peer still sends through the older one": (PAIR, (U, V), (sent(V), heard(U)), None),
    "the peer was heard on both": (PAIR, (U, V), (sent(V), heard(V), heard(U)), None),
    "made crosswise in one second": (PAIR, (U, SAME), (sent(U), heard(SAME)), None),
    "made in one second, both through one": (PAIR, (U, SAME), (sent(U), heard(U)), 3),
    "the newer one is not settled": (PAIR, (U, ike_sa(2, 3)), (), None),
    "the newer one lacks a child": (PAIR, (U, ike_sa(2, 10, names="out")), (), None),
    "the other end is patient": (OTHER_END, (U, V), (), None),
    "the other end is not patient for ever": (OTHER_END, (ike_sa(1, 90), ike_sa(2, 80)), (), 1),
}


@pytest.mark.parametrize(("pair", "sas", "in_use", "closed"), CASES.values(), ids=list(CASES))
def test_a_double_is_closed_when_nothing_travels_through_it(
    pair: Connection, sas: tuple[IkeSa, ...], in_use: tuple[tuple[str, int], ...], closed: int
) -> None:
    actions = doubles(pair, list(sas), frozenset(in_use))
    ids = [action.unique_id for action in actions if isinstance(action, TerminateIkeSa)]
    assert ids == ([closed] if closed else [])
    assert len(ids) == len(actions)


def meeting(in_use: set[tuple[str, int]], sas: tuple[IkeSa, ...] = (U, V)) -> list[Action]:
    return meets(PAIR, list(sas), Memory(), 100.0, frozenset(in_use))


def test_this_node_goes_where_its_peer_sends() -> None:
    (move,) = meeting({sent(U), heard(V)})
    out = next(c.unique_id for c in V.children if c.name == "out")
    assert move == RekeyChildSa(out, PAIR.name, V.unique_id)
    (back,) = meeting({sent(V), heard(U)})
    assert isinstance(back, RekeyChildSa)
    assert back.moving_to == U.unique_id


NO_MEETING = {
    "they have met": ({sent(V), heard(V)}, (U, V)),
    "the peer is on its way": ({sent(U), heard(U), heard(V)}, (U, V)),
    "one is being made": ({sent(U), heard(V)}, (U, V, replace(V, state="CONNECTING"))),
    "a child is being made": ({sent(U), heard(V)}, (U, replace(V, tasks=("CHILD_CREATE",)))),
    "one is not whole": ({sent(U)}, (U, ike_sa(2, 10, names="in"))),
    "there is one": ({sent(U)}, (U,)),
}


@pytest.mark.parametrize(("in_use", "sas"), NO_MEETING.values(), ids=list(NO_MEETING))
def test_it_stays_where_it_is(in_use: set[tuple[str, int]], sas: tuple[IkeSa, ...]) -> None:
    assert meeting(in_use, sas) == []


def test_a_rekeying_that_does_not_help_is_repeated_slowly_and_not_for_ever() -> None:
    memory, now, asked = Memory(), 100.0, 0
    in_use = frozenset({sent(U), heard(V)})
    for _ in range(600):
        now += 1
        for action in meets(PAIR, [U, V], memory, now, in_use):
            memory, asked = record(memory, action, "", now), asked + 1
    assert asked == MOST_MOVES
