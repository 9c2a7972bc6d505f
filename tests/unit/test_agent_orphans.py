"""SAs that a charon left behind: who carries, what may go, and when."""

from dataclasses import replace

import pytest

from geneveil.agent.decide import AgentMemory, Decision
from geneveil.agent.former import Met, find_former, find_left
from geneveil.agent.observe import Observation
from geneveil.agent.orphans import QUIET_SECONDS, Orphans, judge_orphans
from geneveil.agent.peers import KernelView, judge_peer
from geneveil.agent.rotation.watch import WatchRecord
from geneveil.agent.silence import SILENT_SECONDS, judge_silence
from geneveil.mesh.actions import DeleteState, TerminateIkeSa
from geneveil.mesh.memory import Memory, for_instance
from geneveil.model.connection import ChildName, Connection, IkeSa
from geneveil.model.errors import DaemonError, KernelError
from geneveil.model.node_status import PeerState
from geneveil.model.xfrm import XfrmState
from geneveil.xfrm.wire import XFRM_MSG_DELSA, encode_delete_request, parse_errno
from tests.unit.test_agent_decide import (
    CONNECTION,
    EMPTY_IKE,
    IN_POLICY,
    NOW,
    OUT_POLICY,
    SEEN,
    SNAPSHOT,
    UP,
    UP_IKE,
    child,
    codes,
    state,
    turn,
)

IN, OUT = CONNECTION.children


def orphan(to_peer: bool, spi: int, **changes: object) -> XfrmState:
    ends = ("192.0.2.1", "192.0.2.2") if to_peer else ("192.0.2.2", "192.0.2.1")
    reqid = CONNECTION.reqid(OUT if to_peer else IN)
    made = replace(state(ends[1], spi), source=ends[0], reqid=reqid)
    return replace(made, **changes)  # type: ignore[arg-type]


LEFT = (orphan(True, 0x91), orphan(False, 0x92))


def judge(
    states: tuple[XfrmState, ...],
    seconds: float = 0.0,
    sas: tuple[IkeSa, ...] | None = (),
    before: Orphans | None = None,
) -> Orphans:
    sightings = before.sightings if before else {}
    return judge_orphans((CONNECTION,), sas, states, sightings, seconds, NOW)


def test_a_pair_whose_sas_charon_forgot_is_carried() -> None:
    assert judge(LEFT).carried == {CONNECTION.name}
    assert judge(LEFT[:1]).carried == frozenset()  # only one way
    just_made = tuple(replace(one, added_at_seconds=int(NOW.timestamp()) - 1) for one in LEFT)
    assert judge(just_made).carried == frozenset()
    assert judge(LEFT, sas=None) == Orphans()


FOREIGN = {
    "another reqid": {"reqid": 7},
    "other ends": {"source": "192.0.2.9"},
    "another protocol": {"protocol": 51},
    "a place that is held": {"aead": None},
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_not_ours_neither_carries_nor_goes(change: dict[str, object]) -> None:
    foreign = tuple(replace(one, **change) for one in LEFT)  # type: ignore[arg-type]
    first = judge(foreign, 0, UP_IKE.sas)
    assert judge(foreign).carried == frozenset()
    assert judge(foreign, 10 * QUIET_SECONDS, UP_IKE.sas, first).replaced == ()


def test_an_orphan_goes_once_replaced_and_idle() -> None:
    while_needed = judge(LEFT, 0)
    assert judge(LEFT, QUIET_SECONDS * 3, (), while_needed).replaced == ()
    first = judge(LEFT, 0, UP_IKE.sas)
    assert first.replaced == ()
    used = (replace(LEFT[0], packets=5), LEFT[1])
    then = judge(used, QUIET_SECONDS, UP_IKE.sas, first)
    assert then.replaced == (LEFT[1],)
    assert judge(used, QUIET_SECONDS * 2 - 1, UP_IKE.sas, then).replaced == (LEFT[1],)
    assert judge(used, QUIET_SECONDS * 2, UP_IKE.sas, then).replaced == used


def test_what_charon_knows_is_no_orphan() -> None:
    known = (orphan(True, 0x22), orphan(False, 0x11))
    first = judge(known, 0, UP_IKE.sas)
    assert first.sightings == {}
    assert judge(known, QUIET_SECONDS, UP_IKE.sas, first).replaced == ()


def test_an_unreadable_kernel_forgets_nothing_and_deletes_nothing() -> None:
    first = judge(LEFT, 0, UP_IKE.sas)
    blind = judge_orphans((CONNECTION,), UP_IKE.sas, None, first.sightings, 99, NOW)
    assert (blind.replaced, blind.sightings) == ((), first.sightings)


def test_a_carried_pair_is_begun_at_once_with_the_child_of_its_own_traffic_only() -> None:
    policies = (OUT_POLICY, IN_POLICY)
    decision = turn(replace(SEEN, states=LEFT, policies=policies))
    begun = [action.child for action in decision.actions if hasattr(action, "child")]
    assert begun == [OUT]
    assert codes(decision) == ["peer-carried-over"]
    assert decision.peers[0].state is PeerState.UNKNOWN
    # The peer did not make its own: then this node does.
    sa = replace(UP_IKE.sas[0], children=(child("out", 0x21, 0x22),))
    half = replace(SEEN, ike=replace(EMPTY_IKE, sas=(sa,)), states=LEFT, policies=policies)
    soon = turn(replace(half, now_seconds=1005.0), decision.memory)
    assert not [action for action in soon.actions if hasattr(action, "child")]
    late = turn(replace(half, now_seconds=1011.0), soon.memory)
    assert [action.child for action in late.actions if hasattr(action, "child")] == [IN]


def test_a_turn_deletes_exactly_the_orphans_that_can_go() -> None:
    crowded = replace(UP, states=(*UP.states, *LEFT))  # type: ignore[misc]
    first = turn(crowded)
    second = turn(replace(crowded, now_seconds=1000.0 + QUIET_SECONDS), first.memory)
    deleted = [action for action in second.actions if isinstance(action, DeleteState)]
    assert deleted == [DeleteState("192.0.2.2", 0x91, 50), DeleteState("192.0.2.1", 0x92, 50)]


def test_reqids_are_the_same_in_every_life_and_differ_between_children() -> None:
    again = Connection("node1", "node2", "192.0.2.1", "192.0.2.2")
    numbers = {again.reqid(one) for one in again.children}
    assert numbers == {CONNECTION.reqid(IN), CONNECTION.reqid(OUT)}
    assert len(numbers) == 2
    assert all(0x3FFF < number < 1 << 31 for number in numbers)


def test_a_charon_met_anew_is_remembered_the_first_one_is_not() -> None:
    first = for_instance(Memory(), 1, 5.0)
    assert first.anew_seconds < 0
    assert for_instance(first, 2, 9.0).anew_seconds == 9.0


def test_a_peer_that_is_asked_for_long_is_silent() -> None:
    asked = replace(UP_IKE.sas[0], tasks=("IKE_DPD",))
    since, quiet = judge_silence((CONNECTION,), (asked,), {}, 10.0)
    assert quiet == []
    later, findings = judge_silence((CONNECTION,), (asked,), since, 10.0 + SILENT_SECONDS)
    assert [finding.code for finding in findings] == ["peer-silent"]
    assert judge_silence((CONNECTION,), UP_IKE.sas, later, 99.0) == ({}, [])
    newer = replace(UP_IKE.sas[0], unique_id=2)
    assert judge_silence((CONNECTION,), (asked, newer), later, 99.0) == ({}, [])


def test_a_carried_pair_is_not_said_to_be_down() -> None:
    decision = turn(replace(SEEN, states=LEFT))
    assert "peer-down" not in codes(decision)
    peer, finding, _ = judge_peer(CONNECTION, (), KernelView((), ()), None, NOW)
    assert (peer.state, finding and finding.code) == (PeerState.DOWN, "peer-down")


def test_a_delete_request_names_one_state() -> None:
    request = encode_delete_request("192.0.2.2", 0x91, 50, 3)
    assert len(request) == 16 + 24
    assert int.from_bytes(request[4:6], "little") == XFRM_MSG_DELSA
    assert request[16:20] == bytes([192, 0, 2, 2])
    assert request[32:36] == (0x91).to_bytes(4)
    assert request[38] == 50
    six = encode_delete_request("2001:db8::2", 1, 50, 3)
    assert six[16:18] == bytes([0x20, 0x01])
    answer = (36).to_bytes(4, "little") + (2).to_bytes(2, "little") + bytes(10)
    assert parse_errno(answer + (-3).to_bytes(4, "little", signed=True) + bytes(16)) == 3


def test_what_a_closed_peer_still_has_the_keys_of_goes_at_once() -> None:
    carrying = tuple(replace(one, packets=9) for one in LEFT)
    foreign = replace(LEFT[0], reqid=7)
    seen = replace(
        SEEN,
        states=(*carrying, foreign),
        policies=(OUT_POLICY, IN_POLICY),
        record=WatchRecord(revoked_chassis=frozenset({"node2"})),
    )
    gone = [action for action in turn(seen).actions if isinstance(action, DeleteState)]
    assert gone == [DeleteState(s.destination, s.spi, s.protocol) for s in carrying]


REVOKED = WatchRecord(revoked_chassis=frozenset({"node2"}))
EXPIRED = WatchRecord(expired_chassis=frozenset({"NODE2"}))
AWAY = DaemonError("charon does not answer")


def deleted(decision: Decision) -> set[int]:
    return {action.spi for action in decision.actions if isinstance(action, DeleteState)}


@pytest.mark.parametrize("record", [REVOKED, EXPIRED], ids=["revoked", "expired"])
def test_a_closed_peer_is_closed_in_the_kernel_while_charon_stands_still(
    record: WatchRecord,
) -> None:
    foreign = replace(LEFT[0], spi=0x93, reqid=7)
    held = replace(LEFT[0], spi=0x94, aead=None)
    carrying = tuple(replace(one, packets=9) for one in LEFT)
    stopped = replace(UP, ike=AWAY, states=(*carrying, foreign, held))
    before = turn(UP).memory
    assert deleted(turn(stopped, before)) == set()
    assert deleted(turn(replace(stopped, record=record), before)) == {0x91, 0x92}
    assert deleted(turn(replace(stopped, record=record))) == {0x91, 0x92}  # a new agent
    # Its tunnel went as well.
    gone = replace(stopped, ovs=replace(SNAPSHOT, tunnels=()), record=record)
    assert deleted(turn(gone, before)) == {0x91, 0x92}
    blind = replace(gone, states=KernelError("cannot read"))
    assert deleted(turn(blind, before)) == set()


def test_a_charon_that_goes_on_closes_what_it_had_of_a_closed_peer() -> None:
    memory = turn(replace(UP, ike=AWAY, states=LEFT, record=REVOKED), turn(UP).memory).memory
    back = turn(replace(UP, states=(), record=REVOKED), memory)
    ended = [action for action in back.actions if isinstance(action, TerminateIkeSa)]
    assert [(action.unique_id, action.at_once) for action in ended] == [(1, True)]


def spis_deleted_later(seen: Observation, memory: AgentMemory | None) -> set[int]:
    """After a first look and nothing that came through."""
    first = turn(seen, memory)
    assert deleted(first) == set()
    return deleted(turn(replace(seen, now_seconds=1000.0 + QUIET_SECONDS), first.memory))


def test_what_is_left_of_a_pair_that_is_planned_no_more_goes_when_it_is_quiet() -> None:
    foreign = tuple(replace(one, spi=one.spi + 16, reqid=one.reqid ^ 1) for one in LEFT)
    without = replace(SEEN, ovs=replace(SNAPSHOT, tunnels=()), states=(*LEFT, *foreign))
    before = turn(replace(SEEN, states=LEFT)).memory
    assert spis_deleted_later(without, before) == {0x91, 0x92}
    assert spis_deleted_later(replace(without, ike=AWAY), before) == set()  # it may know them
    assert spis_deleted_later(without, None) == set()  # nobody says whose they are
    used = turn(without, before).memory
    busy = (replace(LEFT[0], packets=5), LEFT[1])
    later = replace(without, now_seconds=1000.0 + QUIET_SECONDS, states=busy)
    assert deleted(turn(later, used)) == {0x92}


def test_what_is_left_of_an_address_or_a_port_goes_too() -> None:
    tunnel = SNAPSHOT.tunnels[0]
    before = turn(replace(SEEN, states=LEFT)).memory
    moved = replace(SNAPSHOT, tunnels=(replace(tunnel, remote_ip="192.0.2.77"),))
    assert spis_deleted_later(replace(SEEN, ovs=moved, states=LEFT), before) == {0x91, 0x92}
    assert spis_deleted_later(replace(SEEN, ovs=moved, states=LEFT), None) == {0x91, 0x92}
    other_port = replace(SNAPSHOT, tunnels=(replace(tunnel, dst_port="7000"),))
    assert spis_deleted_later(replace(SEEN, ovs=other_port, states=LEFT), before) == {0x91, 0x92}


def test_when_all_tunnels_go_at_once_not_every_name_is_tried_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peers = [Connection("node1", f"n{i}", "192.0.2.1", f"198.51.100.{i}") for i in range(1, 101)]
    left = [
        replace(state(peer.remote_ip, i), source=peer.local_ip, reqid=peer.reqid(peer.children[1]))
        for i, peer in enumerate(peers)
    ]
    met = Met().joined_with(peers, (6081,))
    asked, reqid = [], Connection.reqid

    def counted(self: Connection, child: ChildName) -> int:
        asked.append(child)
        return reqid(self, child)

    monkeypatch.setattr(Connection, "reqid", counted)
    assert find_former(find_left((), left), "node1", met) == tuple(sorted(peers))
    assert len(asked) == 2 * len(peers)
    moved = Connection("node1", "n9", "192.0.2.1", "203.0.113.9")  # met, not there
    elsewhere = replace(left[0], destination="203.0.113.9", reqid=reqid(moved, moved.children[0]))
    assert find_former(find_left((), [elsewhere]), "node1", met) == (moved,)


def test_whom_nothing_is_left_of_is_forgotten() -> None:
    without = replace(SEEN, ovs=replace(SNAPSHOT, tunnels=()), states=LEFT)
    before = turn(replace(SEEN, states=LEFT)).memory
    kept = turn(without, before).memory
    assert kept.met.chassis == {"node2"}
    blind = turn(replace(without, states=KernelError("cannot read")), kept).memory
    assert blind.met.chassis == {"node2"}
    assert turn(replace(without, states=()), blind).memory.met.chassis == frozenset()


def test_without_a_picture_of_the_tunnels_nothing_is_left_over() -> None:
    blind = replace(SEEN, ovs=DaemonError("Open vSwitch is away"), states=LEFT, record=REVOKED)
    assert spis_deleted_later(blind, None) == set()
