"""When a peer that does not answer is given up, and when not."""

from dataclasses import replace

from geneveil.agent.dead_peers import PATIENCE_SECONDS, REPLACED_SECONDS, DeadWatch, judge_dead
from geneveil.agent.in_use import STILL_SECONDS
from geneveil.mesh.actions import Initiate, TerminateIkeSa
from geneveil.mesh.doubles import SETTLED_SECONDS
from geneveil.mesh.initiation import is_initiator
from geneveil.model.connection import IkeSa
from geneveil.model.node_status import PeerState
from geneveil.model.xfrm import XfrmState
from tests.unit.test_agent_decide import CARRYING, CONNECTION, SA, UP, UP_IKE, turn

ASKED = replace(SA, tasks=("IKE_DPD",))
OUTBOUND = replace(CARRYING[0], source="192.0.2.1")
INBOUND = replace(CARRYING[1], source="192.0.2.2", packets=100)
LATE = PATIENCE_SECONDS + 1


def look(
    sas: tuple[IkeSa, ...],
    states: tuple[XfrmState, ...] | None,
    before: DeadWatch,
    now_seconds: float,
    in_use: frozenset[tuple[str, int]] | None = None,
) -> tuple[DeadWatch, list[int]]:
    watch, actions = judge_dead((CONNECTION,), sas, states, in_use, before, now_seconds)
    assert all(isinstance(action, TerminateIkeSa) and action.at_once for action in actions)
    return watch, [action.unique_id for action in actions]


def follow(
    sas: tuple[IkeSa, ...], states: list[tuple[XfrmState, ...] | None], seconds: float = 10.0
) -> list[list[int]]:
    """What is given up at each of several looks, so far apart."""
    watch, found = DeadWatch(), []
    for number, observed in enumerate(states):
        watch, ids = look(sas, observed, watch, number * seconds)
        found.append(ids)
    return found


def test_a_peer_that_is_silent_in_ike_and_esp_is_given_up_after_its_time() -> None:
    found = follow((ASKED,), [(OUTBOUND, INBOUND)] * 10)
    assert found == [[]] * 8 + [[SA.unique_id]] * 2  # from 72 s on


def test_esp_that_comes_in_is_a_sign_of_life() -> None:
    sending: list[tuple[XfrmState, ...] | None] = [
        (OUTBOUND, replace(INBOUND, packets=100 + n)) for n in range(400)
    ]
    assert follow((ASKED,), sending) == [[]] * 400
    only_ours: list[tuple[XfrmState, ...] | None] = [
        (replace(OUTBOUND, packets=n), INBOUND) for n in range(10)
    ]
    assert follow((ASKED,), only_ours)[-1] == [SA.unique_id]


def test_sas_that_go_are_no_sign_of_life() -> None:
    old = replace(INBOUND, spi=0x77, packets=5000)
    states: list[tuple[XfrmState, ...] | None] = [(OUTBOUND, INBOUND, old)] * 4
    states += [(OUTBOUND, INBOUND)] * 5
    assert follow((ASKED,), states)[-1] == [SA.unique_id]


def test_nobody_is_given_up_whose_sas_cannot_be_read() -> None:
    assert follow((ASKED,), [None] * 20) == [[]] * 20


def test_an_answer_begins_the_count_anew_and_what_is_queued_does_not() -> None:
    both = (OUTBOUND, INBOUND)
    watch, _ = look((ASKED,), both, DeadWatch(), 0.0)
    watch, _ = look((SA,), both, watch, 50.0)
    watch, ids = look((ASKED,), both, watch, LATE)
    assert ids == []
    queued = replace(ASKED, tasks=("IKE_DPD", "IKE_DELETE"))
    watch, ids = look((queued,), both, watch, 2 * LATE)
    assert ids == [SA.unique_id]


def test_an_attempt_that_nobody_answers_is_given_up_whatever_comes_in() -> None:
    begun = replace(
        SA, unique_id=9, state="CONNECTING", established_seconds=None, children=(),
        tasks=("IKE_INIT",),
    )  # fmt: skip
    sending: list[tuple[XfrmState, ...] | None] = [
        (OUTBOUND, replace(INBOUND, packets=100 + n)) for n in range(10)
    ]
    assert follow((SA, begun), sending)[-1] == [9]


def test_what_lost_its_other_end_goes_when_another_carries_all_of_it() -> None:
    sending: list[tuple[XfrmState, ...] | None] = [
        (OUTBOUND, replace(INBOUND, packets=100 + n)) for n in range(10)
    ]
    newer = replace(SA, unique_id=2)
    assert follow((ASKED, newer), sending)[-1] == [SA.unique_id]
    half = replace(newer, children=newer.children[:1])
    assert follow((ASKED, half), sending)[-1] == []
    young = replace(
        newer, children=tuple(replace(child, installed_seconds=1) for child in newer.children)
    )
    assert follow((ASKED, young), sending)[-1] == []


def test_the_agent_gives_up_and_another_charon_is_not_blamed() -> None:
    ike = replace(UP_IKE, sas=(ASKED,))
    seen = replace(UP, ike=ike, states=(OUTBOUND, INBOUND))
    memory = turn(seen).memory
    memory = replace(memory, mesh=replace(memory.mesh, instance=ike.instance))
    late = replace(seen, now_seconds=seen.now_seconds + LATE)
    why = [a.why for a in turn(late, memory).actions if isinstance(a, TerminateIkeSa)]
    assert why == ["its peer has not answered for 72 s"]
    other = replace(late, ike=replace(ike, instance=ike.instance + 1))
    assert not [a for a in turn(other, memory).actions if isinstance(a, TerminateIkeSa)]


def anew(spi: int, seconds: int, unique_id: int = 2) -> IkeSa:
    """An IKE_SA that a peer made when it was back, so many seconds ago."""
    children = tuple(
        replace(
            child,
            unique_id=spi + number,
            spi_in=spi + 2 * number,
            spi_out=spi + 2 * number + 1,
            installed_seconds=seconds,
        )
        for number, child in enumerate(SA.children)
    )
    return replace(SA, unique_id=unique_id, established_seconds=seconds, children=children)


HEARD = frozenset({("192.0.2.1", SA.children[0].spi_in)})


def given_up_at(
    newer: IkeSa, in_use: frozenset[tuple[str, int]] | None, latest: float = PATIENCE_SECONDS + 10
) -> float | None:
    """When the older of two, on which nobody answers, is given up; ESP comes in all the time."""
    watch, now = DeadWatch(), 0.0
    while now <= latest:
        states = (OUTBOUND, replace(INBOUND, packets=100 + int(now)))
        watch, ids = look((ASKED, newer), states, watch, now, in_use)
        if ids:
            assert ids == [SA.unique_id]
            return now
        now += 1.0
    return None


def test_what_a_peer_replaced_when_it_was_back_is_given_up_soon() -> None:
    newer = anew(0x71, SETTLED_SECONDS)
    assert given_up_at(newer, frozenset()) == REPLACED_SECONDS
    assert given_up_at(newer, HEARD) == PATIENCE_SECONDS  # the peer sends through it
    assert given_up_at(newer, None) == PATIENCE_SECONDS  # nobody knows
    assert given_up_at(replace(newer, tasks=("IKE_DPD",)), frozenset()) is None
    assert given_up_at(anew(0x71, SETTLED_SECONDS - 1), frozenset()) is None
    half = replace(newer, children=newer.children[:1])
    assert given_up_at(half, frozenset()) is None


def test_what_is_being_made_beside_one_that_carries_has_its_time() -> None:
    begun = replace(
        SA, unique_id=9, state="CONNECTING", established_seconds=None, children=(),
        tasks=("IKE_INIT",),
    )  # fmt: skip
    bare = replace(begun, state="ESTABLISHED", established_seconds=3, tasks=("CHILD_CREATE",))
    for coming in (begun, bare):
        watch = DeadWatch()
        for now in (0.0, REPLACED_SECONDS, PATIENCE_SECONDS - 1):
            watch, ids = look((SA, coming), (OUTBOUND, INBOUND), watch, now, frozenset())
            assert ids == []


def test_a_peer_that_ends_again_soon_after_a_power_cut_is_down_at_once() -> None:
    """Both ends are seen from a peer: else the second leads traffic into what the first left."""
    old = (OUTBOUND, replace(INBOUND, spi=SA.children[0].spi_in))
    newer = anew(0x71, 0)
    fresh = tuple(
        replace(kernel, spi=spi, packets=5)
        for kernel, spi in ((OUTBOUND, newer.children[1].spi_out), (INBOUND, 0x71))
    )
    out, in_ = UP.policies  # type: ignore[misc]
    leading = replace(out, templates=(replace(out.templates[0], spi=newer.children[1].spi_out),))
    powered = replace(UP, policies=(leading, in_), states=old)
    now, memory = 1000.0, turn(replace(powered, ike=replace(UP_IKE, sas=(ASKED,)))).memory
    sas = [ASKED]
    for second in range(1, 48):  # off for 20 s, then back for half a minute
        now = 1000.0 + second
        if second >= 20:
            aged = anew(0x71, second - 20)
            sas = [sa for sa in sas if sa.unique_id == SA.unique_id] + [aged]
        moving = tuple(replace(state, packets=5 + second) for state in fresh)
        seen = replace(
            powered,
            now_seconds=now,
            ike=replace(UP_IKE, sas=tuple(sas)),
            states=(*old, *moving) if second >= 20 else old,
        )
        decision = turn(seen, memory)
        memory = decision.memory
        gone = {
            a.unique_id for a in decision.actions if isinstance(a, TerminateIkeSa) and a.at_once
        }
        sas = [sa for sa in sas if sa.unique_id not in gone]
        if gone:
            assert gone == {SA.unique_id}
            assert second >= 20 + max(SETTLED_SECONDS, STILL_SECONDS)
    (left,) = sas
    assert left.unique_id == newer.unique_id
    # It says goodbye, and charon is left with what stands.
    sas.remove(left)
    down = turn(replace(powered, now_seconds=now + 1, ike=replace(UP_IKE, sas=tuple(sas))), memory)
    assert [peer.state for peer in down.peers] == [PeerState.DOWN]
    assert any(isinstance(action, Initiate) for action in down.actions) == is_initiator(
        CONNECTION.local_chassis, CONNECTION.remote_chassis
    )
