"""How long the agent may wait until its next turn, when nothing wakes it. Pure."""

from geneveil.agent.apply import Outcome
from geneveil.agent.decide import Decision
from geneveil.mesh.diff import next_attempt_at

PERIOD_SECONDS = 2.0
"""The longest time between two turns: whatever no event tells of is seen after this time."""

FOLLOW_UP_SECONDS = 0.3
"""A turn that did something looks soon at what came of it: an attempt that failed has no event."""

JUST_DOWN_SECONDS = 4.0
"""A pair that is down for no longer may be waiting for the peer, which has begun."""

DOUBT_SECONDS = 0.05
"""A turn that missed something in the kernel looks again as soon as it may be there: charon and the
kernel are read one after the other, and charon adds a child's SAs within a millisecond."""


def pause_seconds(decision: Decision, outcome: Outcome, now_seconds: float) -> float:
    """Until the next look, or the next attempt at a pair that is down, whichever comes first."""
    missing = [pair for pair in decision.memory.beginnings.values() if pair.is_missing]
    pause = FOLLOW_UP_SECONDS if outcome.done or missing else PERIOD_SECONDS
    if not all(pair.must_repair for pair in missing):
        pause = DOUBT_SECONDS
    if any(
        now_seconds - a.down_since < JUST_DOWN_SECONDS for a in outcome.memory.attempts.values()
    ):
        pause = min(pause, FOLLOW_UP_SECONDS)
    if decision.plan is not None:
        due = next_attempt_at(decision.plan.connections, outcome.memory, now_seconds)
        pause = pause if due is None else min(pause, due - now_seconds)
    return pause
