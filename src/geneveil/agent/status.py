"""The node's status, from one turn's picture and decision. Pure."""

from datetime import datetime

from geneveil import __version__
from geneveil.agent.config import AgentConfig
from geneveil.agent.decide import Decision
from geneveil.agent.observe import Observation
from geneveil.model.cluster import Mode
from geneveil.model.errors import GeneveilError
from geneveil.model.guard import ObservedGuard
from geneveil.model.health import HealthValue
from geneveil.model.node_status import GuardStatus, NodeStatus


def build_status(
    seen: Observation, decision: Decision, health: tuple[HealthValue, ...], pid: int
) -> NodeStatus:
    """What the node says about itself: as it was seen, before this turn's repairs."""
    return NodeStatus(
        written_at=seen.now,
        version=__version__,
        pid=pid,
        chassis=decision.chassis,
        mode=Mode.FULL.value,
        charon="" if isinstance(seen.ike, GeneveilError) else seen.ike.version,
        tunnels=None if isinstance(seen.ovs, GeneveilError) else len(seen.ovs.tunnels),
        peers=decision.peers,
        certificate=decision.trust.certificate,
        guard=_guard_status(seen.guard, decision),
        health=health,
    )


def build_disabled_status(config: AgentConfig, now: datetime, pid: int) -> NodeStatus:
    """What a node with IPsec off says."""
    return NodeStatus(
        written_at=now,
        version=__version__,
        pid=pid,
        chassis=config.chassis,
        mode=Mode.DISABLED.value,
        charon="",
        tunnels=None,
        peers=(),
        certificate=None,
        guard=None,
        health=(),
    )


def _guard_status(guard: ObservedGuard | GeneveilError, decision: Decision) -> GuardStatus | None:
    if isinstance(guard, GeneveilError):
        return None
    return GuardStatus(guard.stands_for(decision.guard), guard.ports or (), guard.counters)
