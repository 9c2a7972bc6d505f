"""A mistake of ours in one turn of the loop: said as a health value, and tried again. Pure.

The guard and what stands in charon and the kernel stay as they are: nothing is done by a turn that
failed. An agent that ended instead would be started again, and fail again.
"""

import traceback
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from geneveil.enroll.backoff import backoff_seconds
from geneveil.model.health import Finding, HealthValue, Severity, carry_since
from geneveil.model.node_status import NodeStatus, PeerState

CODE = "agent-failing"
CAP_SECONDS = 10.0
"""Less than a status may be old."""
FORGET_AFTER = 3
"""After so many turns in a row that failed the loop forgets what it remembers, as a start would:
that may be what they fail at."""
MOST_CHARACTERS = 200


def whereabouts(error: BaseException) -> str:
    """Which error, and where: one line for people."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    text = " ".join(str(error).split())[:MOST_CHARACTERS]
    return f"an unexpected {type(error).__name__}: {text}{place}"


def retry_seconds(failures: int) -> float:
    """How long to wait after so many turns that failed in a row (at least one)."""
    return min(backoff_seconds("turn", failures), CAP_SECONDS)


def failed_health(
    before: tuple[HealthValue, ...], error: BaseException, now: datetime
) -> tuple[HealthValue, ...]:
    """What was wrong before, and this."""
    finding = Finding(
        CODE,
        Severity.ERROR,
        "agent",
        f"it could not decide, because of {whereabouts(error)}; what stands stays in place",
        "it tries again by itself; if this stays, restart the agent, and report this line with the "
        "output of geneveil --version",
    )
    others = [value.finding for value in before if value.finding.code != CODE]
    return carry_since(before, [finding, *others], now)


def failed_status(latest: NodeStatus, health: tuple[HealthValue, ...], now: datetime) -> NodeStatus:
    """The latest status with all that nobody looked at taken back: nothing is called well that was
    not seen."""
    peers = tuple(
        peer
        if peer.state is PeerState.UNKNOWN
        else replace(peer, state=PeerState.UNKNOWN, since=now)
        for peer in latest.peers
    )
    return replace(
        latest,
        written_at=now,
        charon="",
        tunnels=None,
        peers=peers,
        guard=None,
        sentinel=None,
        health=health,
    )
