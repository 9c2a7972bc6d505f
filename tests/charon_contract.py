"""What the decisions assume of charon, asked of the charon of values and of a real one.

Each is a question to a charon that was just started, and for which peers do not answer.
"""

from collections.abc import Callable
from typing import Protocol

import pytest

from geneveil.mesh.actions import (
    Action,
    ClearCredentials,
    Initiate,
    LoadConnection,
    LoadIdentity,
    TerminateChildSa,
    TerminateIkeSa,
    UnloadConnection,
    UnloadKey,
)
from geneveil.model.connection import Connection, Identity, ObservedIke

PAIR = Connection("node1", "node2", "192.0.2.1", "192.0.2.2")
IN, OUT = PAIR.children


class Charon(Protocol):
    """Either of them, and two identities of this node."""

    first: Identity
    second: Identity

    def read(self) -> ObservedIke:
        """What it has."""

    def apply(self, action: Action) -> str:
        """Do it; AssertionError or DaemonError if charon refuses."""

    def crash(self) -> None:
        """It dies, and another one takes its place."""

    def await_asked(self, expected: list[int]) -> None:
        """Wait until its IKE_SAs have been asked for so many children each, ascending."""


def loading_again_adds_nothing(charon: Charon) -> None:
    for _ in range(2):
        key_id = charon.apply(LoadIdentity(charon.first))
        charon.apply(LoadConnection(PAIR, charon.first))
    seen = charon.read()
    assert seen.key_ids == {key_id}
    assert seen.certificates == {charon.first.fingerprint, *charon.first.trust_fingerprints}
    assert [c.name for c in seen.connections] == [PAIR.name]


def what_is_loaded_later_stands_beside_what_was(charon: Charon) -> None:
    keys = {charon.apply(LoadIdentity(one)) for one in (charon.first, charon.second)}
    seen = charon.read()
    assert len(keys) == 2
    assert seen.key_ids == keys
    assert {charon.first.fingerprint, charon.second.fingerprint} <= seen.certificates


def a_key_goes_alone_and_what_is_not_there_goes_without_complaint(charon: Charon) -> None:
    key_id = charon.apply(LoadIdentity(charon.first))
    charon.apply(LoadConnection(PAIR, charon.first))
    for _ in range(2):
        charon.apply(UnloadKey(key_id))
    assert charon.read().key_ids == frozenset()
    assert charon.first.fingerprint in charon.read().certificates
    for _ in range(2):
        charon.apply(UnloadConnection(PAIR.name))
    assert charon.read().connections == ()
    charon.apply(TerminateIkeSa(4711, PAIR.name, "it is not there"))
    charon.apply(TerminateChildSa(4711, PAIR.name, "it is not there"))


def clearing_takes_credentials_and_leaves_connections(charon: Charon) -> None:
    charon.apply(LoadIdentity(charon.first))
    charon.apply(LoadConnection(PAIR, charon.first))
    charon.apply(ClearCredentials())
    seen = charon.read()
    assert (seen.key_ids, seen.certificates) == (frozenset(), frozenset())
    assert [c.name for c in seen.connections] == [PAIR.name]


def another_charon_has_nothing_and_is_told_apart(charon: Charon) -> None:
    charon.apply(LoadIdentity(charon.first))
    charon.apply(LoadConnection(PAIR, charon.first))
    before = charon.read()
    charon.crash()
    after = charon.read()
    assert after.instance != before.instance
    assert (after.connections, after.sas, after.key_ids) == ((), (), frozenset())
    assert after.certificates == frozenset()


def a_child_comes_to_the_ike_sa_that_was_made_with_what_is_loaded(charon: Charon) -> None:
    """`geneveil.mesh.reauthentication` rests on it."""
    for one in (charon.first, charon.second):
        charon.apply(LoadIdentity(one))
    charon.apply(LoadConnection(PAIR, charon.first))
    charon.apply(Initiate(PAIR.name, IN))
    charon.await_asked([1])
    charon.apply(Initiate(PAIR.name, OUT))
    charon.await_asked([2])
    charon.apply(LoadConnection(PAIR, charon.first, salt=7))
    charon.await_asked([2])
    charon.apply(Initiate(PAIR.name, OUT))
    charon.await_asked([1, 2])
    charon.apply(LoadConnection(PAIR, charon.first))
    charon.apply(Initiate(PAIR.name, IN))
    charon.await_asked([1, 3])
    charon.apply(LoadConnection(PAIR, charon.second))
    charon.apply(Initiate(PAIR.name, IN))
    charon.await_asked([1, 1, 3])


def an_ike_sa_goes_with_its_children_and_no_other_does(charon: Charon) -> None:
    charon.apply(LoadIdentity(charon.first))
    for salt in (0, 7):
        charon.apply(LoadConnection(PAIR, charon.first, salt))
        charon.apply(Initiate(PAIR.name, IN))
        charon.await_asked([1] * (1 + (salt > 0)))
    kept, gone = sorted(sa.unique_id for sa in charon.read().sas)
    charon.apply(UnloadConnection(PAIR.name))
    charon.await_asked([1, 1])
    charon.apply(TerminateIkeSa(gone, PAIR.name, "asked for", at_once=True))
    charon.await_asked([1])
    assert [sa.unique_id for sa in charon.read().sas] == [kept]


def what_is_not_loaded_is_not_begun(charon: Charon) -> None:
    with pytest.raises(Exception, match=r"refused|before it was loaded"):
        charon.apply(Initiate(PAIR.name, IN))
    assert charon.read().sas == ()


CONTRACT: tuple[Callable[[Charon], None], ...] = (
    loading_again_adds_nothing,
    what_is_loaded_later_stands_beside_what_was,
    a_key_goes_alone_and_what_is_not_there_goes_without_complaint,
    clearing_takes_credentials_and_leaves_connections,
    another_charon_has_nothing_and_is_told_apart,
    a_child_comes_to_the_ike_sa_that_was_made_with_what_is_loaded,
    an_ike_sa_goes_with_its_children_and_no_other_does,
    what_is_not_loaded_is_not_begun,
)
