"""The node's status, from one turn's picture and decision. Pure."""

from datetime import datetime

from geneveil import __version__
from geneveil.agent.config import AgentConfig
from geneveil.agent.decide import Decision
from geneveil.agent.observe import Observation
from geneveil.agent.rotation.renewal import renewal_state
from geneveil.agent.rotation.watch import fingerprints
from geneveil.model.cluster import Mode
from geneveil.model.errors import GeneveilError
from geneveil.model.health import HealthValue
from geneveil.model.node_status import GuardStatus, NodeStatus, SentinelStatus
from geneveil.model.sentinel import ObservedSentinel
from geneveil.model.trust_status import AuthorityStatus, CrlStatus, TrustStatus


def build_status(
    seen: Observation,
    decision: Decision,
    health: tuple[HealthValue, ...],
    pid: int,
    start_ticks: int = 0,
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
        guard=_guard_status(seen, decision),
        sentinel=_sentinel_status(seen.sentinel),
        health=health,
        trust=_trust_status(seen, decision),
        start_ticks=start_ticks,
    )


def _trust_status(seen: Observation, decision: Decision) -> TrustStatus | None:
    trust = decision.trust
    if trust.bundle is None:
        return None
    loaded = frozenset[str]() if isinstance(seen.ike, GeneveilError) else seen.ike.certificates
    record = decision.memory.record
    authorities = zip(trust.bundle.authorities, fingerprints(trust.bundle), strict=True)
    return TrustStatus(
        renewal=renewal_state(seen.situation, decision.must_renew),
        authorities=tuple(
            AuthorityStatus(
                authority.subject.rfc4514_string(),
                fingerprint,
                authority.not_valid_after_utc,
                fingerprint in loaded,
            )
            for authority, fingerprint in authorities
        ),
        crls=tuple(
            CrlStatus(
                authority=crl.authority,
                number=crl.number,
                revoked=len(crl.serials),
                this_update=crl.this_update,
                next_update=crl.next_update,
                in_charon=crl.fingerprint in loaded,
            )
            for crl in trust.crls
        ),
        heard_at=record.heard_at,
        generation=record.generation,
    )


def build_disabled_status(
    config: AgentConfig, now: datetime, pid: int, start_ticks: int = 0
) -> NodeStatus:
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
        start_ticks=start_ticks,
    )


def _guard_status(seen: Observation, decision: Decision) -> GuardStatus | None:
    guard = seen.guard
    if isinstance(guard, GeneveilError):
        return None
    return GuardStatus(
        guard.stands_for(decision.guard),
        guard.ports or (),
        guard.counters,
        seen.guard_history.count,
        seen.guard_history.latest_at,
        is_bolted=seen.bolt == decision.guard,
    )


def _sentinel_status(sentinel: ObservedSentinel | GeneveilError) -> SentinelStatus | None:
    if isinstance(sentinel, GeneveilError):
        return None
    return SentinelStatus(sentinel.spec.devices if sentinel.spec else (), sentinel.counters)
