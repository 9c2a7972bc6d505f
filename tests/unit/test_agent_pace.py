"""How long the agent waits until it looks again."""

from dataclasses import replace

from geneveil.agent.apply import Outcome
from geneveil.agent.decide import AgentMemory, Decision, decide
from geneveil.agent.observe import Observation
from geneveil.agent.pace import DOUBT_SECONDS, FOLLOW_UP_SECONDS, PERIOD_SECONDS, pause_seconds
from geneveil.mesh.actions import ApplyGuard
from geneveil.mesh.memory import Attempts
from tests.unit.test_agent_decide import CONNECTION, EMPTY_IKE, GUARD, SEEN, UP


def look(seen: Observation, memory: AgentMemory | None = None) -> Decision:
    return decide(seen, memory or AgentMemory(), ())


def pause(decision: Decision, now_seconds: float = 1000.0, *, did: bool = False) -> float:
    done = (ApplyGuard(decision.guard),) if did else ()
    return pause_seconds(decision, Outcome(decision.memory.mesh, done, ()), now_seconds)


def test_a_node_on_which_all_is_well_looks_seldom_and_what_was_done_is_looked_at_soon() -> None:
    decision = look(UP)
    assert pause(decision) == PERIOD_SECONDS
    assert pause(decision, did=True) == FOLLOW_UP_SECONDS


def test_what_is_missed_once_is_looked_for_again_at_once_and_then_less_often() -> None:
    gone = replace(UP, states=())
    first = look(gone, look(UP).memory)
    assert pause(first) == DOUBT_SECONDS
    assert pause(look(gone, first.memory)) == FOLLOW_UP_SECONDS


def test_a_pair_that_is_down_is_tried_when_its_time_has_come() -> None:
    decision = look(replace(SEEN, ike=EMPTY_IKE, guard=GUARD))
    tried = Attempts(down_since=900.0, count=2, latest=1000.0)
    mesh = replace(decision.memory.mesh, attempts={CONNECTION.name: tried})
    decision = replace(decision, memory=replace(decision.memory, mesh=mesh))
    early = pause(decision, 1000.0)
    assert 0.3 < early < 0.7  # half a second, a quarter more or less
    assert abs(early - pause(decision, 1000.3) - 0.3) < 1e-6
    assert pause(decision, 1005.0) == PERIOD_SECONDS  # its time has come: it waits for an event
