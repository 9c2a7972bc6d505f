"""What is made of a fault's figures: judged, and written as a table."""

import json
from pathlib import Path

import pytest

from lab import belongings
from lab.control_plane import KUBERNETES
from lab.errors import LabError
from lab.fault import Belonging, Fault, Keeps, codes, recast
from lab.fault_kernel import judge_policies, judge_spis, parse_policies, parse_states
from lab.fault_rules import FaultOutcome, judge_losses, judge_says, logged_codes, recovery_seconds
from lab.fault_table import BEGIN, END, fault_row, fault_table, fault_tables, merge_row, with_table
from lab.stage import Stage
from lab.traffic import Mark, PairLoss, with_silence

TOP = Path(__file__).parents[2]


async def _nothing(stage: Stage) -> None: ...


def make(**changes: object) -> Fault:
    return Fault(**{"name": "f", "title": "F", "inject": _nothing, **changes})  # type: ignore[arg-type]


RATE = 200


def loss(source: str, destination: str, *ranges: tuple[int, int], **changes: object) -> PairLoss:
    """1,000 packets, or as many as are said, sent from second 0 on."""
    lost = sum(last - first + 1 for first, last in ranges)
    fields = {"tcp_breaks": 0, "tcp_connects": 1, "longest_silence_seconds": 0.1}
    seconds = tuple((first / RATE, (last + 1) / RATE) for first, last in ranges)
    times = {"lost_seconds": seconds, "sending_seconds": 5.0, "sent_packets": 1000}
    values = fields | times | {"lost_packets": lost, "lost_ranges": ranges} | changes
    return PairLoss(source, destination, udp_a_second=RATE, **values)  # type: ignore[arg-type]


def outcome(
    fault: Fault,
    *losses: PairLoss,
    clear: int = 0,
    recovery: float = 0,
    nodes: tuple[str, ...] = (),
) -> FaultOutcome:
    return FaultOutcome(fault, nodes, clear, losses, recovery, {}, 1.0)


def test_a_node_touches_all_its_pairs_and_a_pair_both_its_directions() -> None:
    fault = make(touches=("node1", "node2-node3"))
    touched = [("node1", "node2"), ("node3", "node1"), ("node2", "node3"), ("node3", "node2")]
    assert all(fault.touches_pair(pair) for pair in touched)
    assert not fault.touches_pair(("node2", "node4"))


def test_one_packet_lost_on_an_untouched_pair_breaks_a_rule() -> None:
    fault = make(touches=("node1",))
    fine = outcome(fault, loss("node1", "node2", (5, 90)), loss("node2", "node3"))
    assert judge_losses(fine) == []
    assert judge_losses(outcome(fault, loss("node2", "node3", (7, 7)))) != []
    assert judge_losses(outcome(fault, loss("node2", "node3", tcp_connects=2))) != []
    assert judge_losses(outcome(fault, clear=1)) == ["1 Geneve frames in clear"]


def test_bounds_are_of_the_touched_pairs() -> None:
    fault = make(touches=("node1",), most_outage_seconds=1.0, most_recovery_seconds=2.0)
    assert judge_losses(outcome(fault, loss("node1", "node2", (0, 199)))) == []
    late = judge_losses(outcome(fault, loss("node1", "node2", (0, 209))))
    assert "out for 1.05 s" in late[0]
    assert judge_losses(outcome(fault, recovery=2.1)) == ["back after 2.10 s, not at most 2 s"]


def test_with_slack_only_what_may_take_time_may_take_more() -> None:
    bounded = make(touches=("node1",), most_outage_seconds=1.0, most_recovery_seconds=10.0)
    slow = outcome(bounded, loss("node1", "node2", (0, 999)), recovery=39)
    assert len(judge_losses(slow)) == 2
    assert judge_losses(slow, slack=4) == []
    assert len(judge_losses(outcome(bounded, recovery=41), slack=4)) == 1
    never = make(touches=("node1",), most_outage_seconds=0.0)
    assert judge_losses(outcome(never, loss("node1", "node2", (7, 7))), slack=4) != []
    untouched = outcome(bounded, loss("node2", "node3", (7, 7)), clear=1)
    assert len(judge_losses(untouched, slack=4)) == 2


def test_what_must_lose_nothing_is_given_no_slack() -> None:
    fault = make(renews=("node1",), most_outage_seconds=None)
    assert judge_losses(outcome(fault, loss("node1", "node2", (7, 7))), slack=4) != []


def test_a_pair_that_sent_hardly_anything_proves_nothing() -> None:
    fault = make(touches=("node1",))
    busy, silent = loss("node1", "node2", sent_packets=300), loss("node1", "node2", sent_packets=9)
    assert judge_losses(outcome(fault, busy)) == []
    assert "sent hardly anything" in judge_losses(outcome(fault, silent))[0]
    assert (
        "sent hardly anything"
        in judge_losses(outcome(fault, loss("node2", "node3", sent_packets=0)))[0]
    )


def test_a_pair_without_traffic_is_missed() -> None:
    there = loss("node1", "node2")
    judged = judge_losses(outcome(make(), there, nodes=("node1", "node2")))
    assert judged == ["no traffic from node2 to node1"]


def test_an_outage_lasts_as_long_as_it_lasted_however_many_packets_that_were() -> None:
    fault = make(touches=("node1",), most_outage_seconds=10.0)
    slow = loss("node1", "node2", (100, 199), lost_seconds=((10.0, 21.0),))
    assert outcome(fault, slow).outage_seconds == 11.0
    assert "out for 11.00 s" in judge_losses(outcome(fault, slow))[0]


def test_the_rate_is_what_was_sent() -> None:
    assert outcome(make(), loss("node1", "node2", sent_packets=500)).udp_a_second == 100
    assert outcome(make()).udp_a_second == 0


def test_recovery_is_from_the_moment_to_the_last_lost_packet() -> None:
    moment = Mark({}, {}, {}, {}, seconds=0.5)
    losses = [loss("node1", "node2", (50, 60), (300, 499)), loss("node3", "node2", (0, 999))]
    assert recovery_seconds(make(touches=("node1",)), losses, moment) == 2.0
    assert recovery_seconds(make(touches=("node1",)), [loss("node1", "node2")], moment) == 0
    assert recovery_seconds(make(touches=("node1",)), [loss("node1", "node2", (0, 9))], moment) == 0


def test_a_sender_that_was_cut_is_out_until_its_heir_gets_something_through() -> None:
    assert with_silence([], 10.0, 40.0) == [(10.0, 40.0)]
    assert with_silence([(40.0, 43.0), (50.0, 51.0)], 10.0, 40.0) == [(10.0, 43.0), (50.0, 51.0)]
    assert with_silence([(50.0, 51.0)], 10.0, 40.0) == [(10.0, 40.0), (50.0, 51.0)]


LOG = """level=error event="it is gone" code=charon-away subject=charon remedy="start it"
level=info event="over: it was altered" code=guard-altered subject=guard
level=warning event="no words" code=mute subject=x remedy=""
level=info event=revoked code=peer-revoked subject=y
level=info event=plain peer=node2
"""


def test_a_log_names_codes_and_owes_each_a_remedy() -> None:
    found, unhelpful = logged_codes(LOG)
    assert found == {"charon-away", "mute", "peer-revoked"}
    assert [line.split()[-3] for line in unhelpful] == ["code=mute"]


def test_what_must_be_said_is_asked_of_log_and_status() -> None:
    fault = make(says=codes(["node1"], "charon-away"), hold_seconds=5)
    both = {"node1": {"charon-away", "more"}}
    assert judge_says(fault, both, both, []) == []
    assert "log" in judge_says(fault, {}, both, [])[0]
    assert "status" in judge_says(fault, both, {}, [])[0]
    assert judge_says(make(says=fault.says), both, {}, []) == []  # too short to be seen


ADDRESSES = {"1": "node1", "2": "node2", "3": "node3"}


@pytest.mark.parametrize(
    "keeps, broken", [(Keeps.ALL, 4), (Keeps.UNTOUCHED, 2), (Keeps.NONE, 0)], ids=str
)
def test_spis_are_compared_as_far_as_the_fault_says(keeps: Keeps, broken: int) -> None:
    before = {"node1": {("1", "2", "0xa")}, "node3": {("3", "2", "0xb")}}
    after = {"node1": {("1", "2", "0xc")}, "node3": {("3", "2", "0xd")}}
    fault = make(touches=("node1",), keeps=keeps)
    assert len(judge_spis(fault, ADDRESSES, before, after)) == broken
    assert judge_spis(fault, ADDRESSES, before, before) == []


def test_what_loses_nothing_may_still_have_new_sas() -> None:
    before = {"node1": {("1", "2", "0xa")}, "node3": {("3", "2", "0xb")}}
    after = {"node1": {("1", "2", "0xc")}, "node3": {("3", "2", "0xd")}}
    (broken,) = set(judge_spis(make(renews=("node1",)), ADDRESSES, before, after)[:1])
    assert broken.startswith("node3")


STATES = """src 192.0.2.1 dst 192.0.2.2
\tproto esp spi 0xc1 reqid 7 mode transport
\treplay-window 0
src 203.0.113.1 dst 203.0.113.2
\tproto esp spi 0x0f0e0d0c reqid 4242 mode tunnel
"""
POLICIES = """src 192.0.2.1/32 dst 192.0.2.2/32 proto udp dport 6081
\tdir out priority 366847
\ttmpl src 0.0.0.0 dst 0.0.0.0
\t\tproto esp spi 0xc1 reqid 7 mode transport
src 203.0.113.1/32 dst 203.0.113.2/32
\tdir out priority 4242
\ttmpl src 203.0.113.1 dst 203.0.113.2
\t\tproto esp reqid 4242 mode tunnel
src 2001:db8:2::1/128 dst 2001:db8:2::2/128 proto udp sport 1
\tdir in priority 1
"""
OURS = {"192.0.2.1", "192.0.2.2", "2001:db8:2::1", "2001:db8:2::2"}


def test_what_ip_says_is_read_as_far_as_it_is_of_the_underlay() -> None:
    assert parse_states(STATES, OURS) == {("192.0.2.1", "192.0.2.2", "0xc1")}
    found = sorted(parse_policies(POLICIES, OURS))
    assert [one[:2] for one in found] == [
        ("192.0.2.1", "192.0.2.2"),
        ("2001:db8:2::1", "2001:db8:2::2"),
    ]
    assert "dport 6081 dir out priority 366847 tmpl" in found[0][2]


def test_policies_are_compared_where_spis_are() -> None:
    before = {"node3": {("3", "2", "dir out priority 1")}}
    after = {"node3": {("3", "2", "dir out priority 2")}}
    gone: dict[str, set[tuple[str, str, str]]] = {"node3": set()}
    assert len(judge_policies(make(keeps=Keeps.ALL), ADDRESSES, before, after)) == 2
    assert len(judge_policies(make(keeps=Keeps.ALL), ADDRESSES, before, gone)) == 1
    assert judge_policies(make(keeps=Keeps.ALL), ADDRESSES, before, before) == []
    assert judge_policies(make(touches=("node2",)), ADDRESSES, before, after) == []
    assert judge_policies(make(keeps=Keeps.NONE), ADDRESSES, before, after) == []
    assert judge_policies(make(keeps=Keeps.ALL), ADDRESSES, before, {}) == []  # it was removed


def test_another_cast_is_another_node_all_through() -> None:
    fault = make(
        touches=("node1", "node1-node2"), renews=("node3",), says=codes(["node1"], "peer-down")
    )
    other = recast(fault, {"node1": "node2", "node2": "node3", "node3": "node1"})
    assert (other.touches, other.renews) == (("node2", "node2-node3"), ("node1",))
    assert other.says == codes(["node2"], "peer-down")


def test_others_things_must_be_there_and_stay() -> None:
    key = ("node1", Belonging.XFRM)
    assert belongings.changes({key: "a"}, {key: "a"}) == []
    assert len(belongings.changes({key: "a"}, {key: ""})) == 1
    assert len(belongings.changes({key: ""}, {key: ""})) == 1


def test_a_record_keeps_the_latest_row_and_writes_the_page(tmp_path: Path) -> None:
    record, page = tmp_path / "r.json", tmp_path / "r.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    fault = make(touches=("node1",))
    merge_row(record, fault_row("s", outcome(fault, loss("node1", "node2", (0, 99)))))
    merge_row(record, fault_row("s", outcome(fault, loss("node1", "node2", (0, 1)))))
    (row,) = json.loads(record.read_text())
    assert (row["lost_touched"], row["outage_seconds"]) == (2, 0.01)
    text = page.read_text()
    assert text.startswith("above\n") and text.endswith("below\n")
    assert "| F | 0 | – | 2 | 0.01 s | 0.00 s | 200 |" in text
    assert "old" not in text


def test_what_was_played_on_kubernetes_is_a_table_of_its_own(tmp_path: Path) -> None:
    record, page = tmp_path / "r.json", tmp_path / "r.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    fault = make(touches=("node1",))
    old = fault_row("s", outcome(fault, loss("node1", "node2", (0, 9))))
    del old["control_plane"], old["asked_udp_a_second"]
    record.write_text(json.dumps([old]))
    merge_row(record, fault_row("s", outcome(fault, loss("node1", "node2", (0, 4))), KUBERNETES))
    above, below = page.read_text().split("\nOn Kubernetes:\n")
    assert "| F | 0 | – | 10 | 0.05 s | 0.00 s | (200) |" in above
    assert "| F | 0 | – | 5 |" in below
    assert below.count("| fault |") == above.count("| fault |") == 1


def test_a_page_without_marks_is_left_alone() -> None:
    with pytest.raises(LabError):
        with_table("nothing here", fault_table([]))


def test_docs_show_the_recorded_figures() -> None:
    record, page = TOP / "docs/reliability.json", (TOP / "docs/reliability.md").read_text()
    rows = json.loads(record.read_text())
    assert rows
    assert with_table(page, fault_tables(rows)) == page


def test_a_double_that_goes_is_no_change() -> None:
    pair = {("1", "2", spi) for spi in "ab"} | {("2", "1", spi) for spi in "cd"}
    crowded = {"node1": pair | {("1", "2", "e")}}
    assert judge_spis(make(keeps=Keeps.ALL), ADDRESSES, crowded, {"node1": pair}) == []
    assert judge_spis(make(keeps=Keeps.ALL), ADDRESSES, {"node1": pair}, crowded) != []
    few = {"node1": pair - {("1", "2", "a")}}
    assert judge_spis(make(keeps=Keeps.ALL), ADDRESSES, {"node1": pair}, few) != []
