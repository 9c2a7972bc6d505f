"""Which SAs Geneve travels through, by the kernel's word."""

from dataclasses import replace

from geneveil.agent.decide import AgentMemory
from geneveil.agent.in_use import STILL_SECONDS, InUse, judge_in_use
from geneveil.mesh.actions import TerminateIkeSa
from geneveil.model.errors import DaemonError
from geneveil.model.xfrm import XfrmPolicy, XfrmState
from tests.unit.test_agent_decide import (
    CARRYING,
    CONNECTION,
    IN_POLICY,
    OUT_POLICY,
    SA,
    TEMPLATE,
    UP,
    UP_IKE,
    child,
    state,
    turn,
)

SECOND = replace(SA, unique_id=2)
LEADS = replace(OUT_POLICY, templates=(replace(TEMPLATE, spi=0x22),))


def inbound(packets: int, spi: int = 0x11) -> XfrmState:
    return replace(state("192.0.2.1", spi), source="192.0.2.2", packets=packets)


def judge(
    states: tuple[XfrmState, ...] | None,
    seconds: float,
    before: InUse | None = None,
    policies: tuple[XfrmPolicy, ...] | None = (LEADS, IN_POLICY),
) -> InUse:
    earlier = before.sightings if before else {}
    return judge_in_use((CONNECTION,), (SA, SECOND), states, policies, earlier, seconds)


def test_what_a_policy_leads_to_is_used() -> None:
    assert judge((), 0.0).sas == frozenset({("192.0.2.2", 0x22)})
    assert judge((), 0.0, policies=()).sas == frozenset()


def test_nothing_is_asked_about_a_pair_with_one_ike_sa() -> None:
    found = judge_in_use((CONNECTION,), (SA,), (inbound(7),), (LEADS, IN_POLICY), {}, 0.0)
    assert found == InUse(frozenset(), {})


def test_an_inbound_sa_is_used_while_it_counts_and_for_a_while_after() -> None:
    used = ("192.0.2.1", 0x11)
    found = judge((inbound(0),), 0.0)
    assert used not in (found.sas or ())
    found = judge((inbound(7),), 1.0, found)
    assert used in (found.sas or ())
    found = judge((inbound(7),), STILL_SECONDS + 0.9, found)
    assert used in (found.sas or ())
    found = judge((inbound(7),), STILL_SECONDS + 1, found)
    assert used not in (found.sas or ())
    assert used in (judge((inbound(7),), STILL_SECONDS + 1).sas or ()), "nobody knows since when"


def test_what_cannot_be_read_says_nothing_and_forgets_nothing() -> None:
    before = judge((inbound(7),), 0.0)
    for found in (judge(None, 1.0, before), judge((inbound(7),), 1.0, before, policies=None)):
        assert found.sas is None
        assert found.sightings == before.sightings


def test_no_double_is_closed_unless_the_kernel_could_be_read() -> None:
    older = replace(SA, unique_id=9, children=(child("in", 0x31, 0x32), child("out", 0x41, 0x42)))
    older = replace(older, established_seconds=(SA.established_seconds or 0) + 100)
    patient = [replace(sa, established_seconds=(sa.established_seconds or 0) + 100)
               for sa in (SA, older)]  # fmt: skip
    patient = [
        replace(sa, children=tuple(replace(c, installed_seconds=100) for c in sa.children))
        for sa in patient
    ]
    seen = replace(UP, ike=replace(UP_IKE, sas=tuple(patient)))

    def closed(policies: tuple[XfrmPolicy, ...] | DaemonError) -> list[int]:
        decision = turn(replace(seen, policies=policies, states=CARRYING), AgentMemory())
        return [a.unique_id for a in decision.actions if isinstance(a, TerminateIkeSa)]

    assert closed((LEADS, IN_POLICY)) == [9]
    assert closed(DaemonError("no")) == []
