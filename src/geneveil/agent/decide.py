"""From one picture to actions and findings. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from geneveil.agent.cleartext import Growth, judge_cleartext
from geneveil.agent.closed_peers import close_peers, closed_names, end_closed
from geneveil.agent.config import ControlPlaneKind, guarded_ports
from geneveil.agent.dead_peers import DeadWatch, judge_dead
from geneveil.agent.esp import fallback_since, judge_esp
from geneveil.agent.former import Met, find_former, find_left, remember
from geneveil.agent.in_use import judge_in_use
from geneveil.agent.kube.remedies import reword
from geneveil.agent.lost_settings import are_lost, guess_encapsulation
from geneveil.agent.observe import Observation
from geneveil.agent.orphans import Key, Orphans, Sighting, judge_orphans
from geneveil.agent.peers import Beginning, KernelView, judge_peer
from geneveil.agent.readings import no_chassis, reading_findings, settings_findings
from geneveil.agent.refused import Refused, judge_refused
from geneveil.agent.rotation.renewal import (
    is_refused,
    is_shut_out,
    judge_renewal,
    judge_watch,
    must_renew,
)
from geneveil.agent.rotation.watch import WatchRecord
from geneveil.agent.silence import judge_silence
from geneveil.agent.trust import Trust, TrustFiles, judge_trust, own_name
from geneveil.agent.underlay_mtu import judge_underlay_mtu
from geneveil.agent.wire_watch import (
    Leak,
    choose_devices,
    judge_leak,
    judge_place,
    plan_sentinel,
)
from geneveil.mesh.actions import Action, ApplyBolt, ApplyGuard, DeleteState
from geneveil.mesh.diff import diff_ike, track_attempts
from geneveil.mesh.memory import Memory, for_instance, for_pairs, identity_digest
from geneveil.mesh.plan import MeshPlan, plan_mesh
from geneveil.mesh.reauthentication import track_stale
from geneveil.model.cluster import ClusterSettings
from geneveil.model.connection import Connection
from geneveil.model.errors import GeneveilError, RefusedError
from geneveil.model.guard import GuardCounter, GuardSpec, ObservedGuard
from geneveil.model.health import Finding, HealthValue
from geneveil.model.names import name_key
from geneveil.model.node_status import PeerState, PeerStatus
from geneveil.model.tunnel import OvsSnapshot

TRUST_STANDS_SECONDS = 30.0
"""How long an unchanged key and certificate are believed without looking at the clock again:
checking an RSA key takes a tenth of a second of this small machine's time."""


@dataclass(frozen=True)
class JudgedTrust:
    """What was asked about the files of trust, what the answer was, and when."""

    question: tuple[TrustFiles, str, ClusterSettings] = field(repr=False)
    trust: Trust
    at_seconds: float
    at: datetime


@dataclass(frozen=True)
class AgentMemory:
    """What goes from turn to turn; all of it may be lost.

    Attributes:
        snapshot: the latest complete picture of the tunnels.
        settings: the latest of the cluster that could be read.
        beginnings: connection name to the pair's state and when it began.
        was_all_up: every pair was, at every turn since the guard's counters were read.
        counted: the guard's latest reading.
        guard: what was decided last, or found at the start.
        met: whom the plan named so far.
        record: what the operator said last.
    """

    mesh: Memory = field(default_factory=Memory)
    snapshot: OvsSnapshot | None = None
    beginnings: Mapping[str, Beginning] = field(default_factory=dict)
    health: tuple[HealthValue, ...] = ()
    judged: JudgedTrust | None = None
    settings: ClusterSettings | None = None
    growths: Mapping[GuardCounter, Growth] = field(default_factory=dict)
    leak: Leak = field(default_factory=Leak)
    refused: Refused = field(default_factory=Refused)
    sightings: Mapping[Key, Sighting] = field(default_factory=dict)
    arrivals: Mapping[Key, Sighting] = field(default_factory=dict)
    asked_since: Mapping[str, float] = field(default_factory=dict)
    dead: DeadWatch = field(default_factory=DeadWatch)
    was_all_up: bool = False
    counted: ObservedGuard | None = None
    guard: GuardSpec | None = None
    met: Met = field(default_factory=Met)
    record: WatchRecord = field(default_factory=WatchRecord)


@dataclass(frozen=True)
class Decision:
    """What to do, in this order, and what to say.

    Attributes:
        must_renew: the operator is to be asked for a new certificate.
        is_refused: the operator will not have the certificate, however usable it looks here.
        is_retired: charon has forgotten the key that was replaced: its file can go.
        answered_pairs: addresses of the pairs whose echoes are to be answered.
    """

    actions: tuple[Action, ...]
    memory: AgentMemory
    chassis: str
    plan: MeshPlan | None
    guard: GuardSpec
    peers: tuple[PeerStatus, ...]
    trust: Trust
    findings: tuple[Finding, ...]
    must_renew: bool = False
    is_refused: bool = False
    is_retired: bool = False
    answered_pairs: frozenset[tuple[str, str]] = frozenset()


def decide(seen: Observation, memory: AgentMemory, standing: tuple[Finding, ...]) -> Decision:
    """Decide what this node should do now.

    Args:
        standing: findings that hold for as long as the agent runs, such as a refused mode.
    Fails closed: yes. What cannot be read is named; nothing is taken away before there was a
        complete picture of the tunnels; the guard comes first.
    """
    findings = [*standing, *reading_findings(seen)]
    snapshot = memory.snapshot if isinstance(seen.ovs, GeneveilError) else seen.ovs
    chassis = seen.config.chassis or own_name(snapshot, seen.trust_files)
    is_lost = are_lost(seen.settings, seen.trust_files)
    known, remembered, settings_findings = _judge_settings(seen, memory, is_lost=is_lost)
    findings += settings_findings
    ports = guarded_ports(seen.config, remembered)
    plan = None
    if snapshot is not None and chassis:
        plan = plan_mesh(snapshot, chassis, ports, known.encapsulation)
        findings += plan.findings
    elif snapshot is not None:
        findings.append(no_chassis())
    trust = _judge_trust(seen, memory, chassis, known)
    # Without a name nothing can be said about whose certificate it should be.
    findings += trust.findings if chassis else ()
    memory = replace(memory, record=_last_heard(seen, memory))
    renews, renewal_findings = _judge_certificate(seen, trust, memory.record)
    findings += renewal_findings
    guard = plan.guard if plan else GuardSpec(ports)
    if plan is None or is_lost:
        guard = _never_narrower(seen, memory, guard)
    revoked, esp = frozenset[str](), None
    wanted = plan.connections if plan else ()
    if plan is not None:
        plan, revoked, closed = close_peers(plan, memory.record)
        esp = judge_esp(seen, memory.mesh.esp, plan)
        plan, memory = esp.plan, replace(memory, mesh=replace(memory.mesh, esp=esp.watches))
        findings += (*closed, *esp.findings)
    memory = _remember_trust(seen, memory, trust, (seen.trust_files, chassis, known))
    leak, on_wire = judge_leak(seen.sentinel, memory.leak, seen.now_seconds)
    memory = replace(memory, snapshot=snapshot, settings=remembered, leak=leak, guard=guard)
    memory, orphans = _judge_orphans(seen, memory, plan, wanted)
    memory, peers, peer_findings = _judge_peers(seen, memory, plan, orphans)
    memory, counted = _judge_counters(seen, memory, peers, wanted, bool(revoked))
    findings += [*peer_findings, *counted, *on_wire, *judge_place(seen.addresses, snapshot, plan)]
    findings += judge_underlay_mtu(seen.addresses, seen.mtus, snapshot, plan)
    actions, memory = _plan_actions(seen, memory, plan, guard, trust, revoked, orphans)
    return Decision(
        actions=(*actions, *(esp.asks if esp else ())),
        memory=memory,
        chassis=chassis,
        plan=plan,
        guard=guard,
        peers=peers,
        trust=trust,
        findings=_worded(seen, findings),
        must_renew=renews,
        is_refused=is_refused(seen.failures.watch) or is_refused(seen.failures.renewal),
        is_retired=_is_retired(seen, memory, trust),
        answered_pairs=esp.answered_pairs if esp else frozenset(),
    )


def _worded(seen: Observation, findings: list[Finding]) -> tuple[Finding, ...]:
    is_kubernetes = seen.config.control_plane is ControlPlaneKind.KUBERNETES
    return tuple(map(reword, findings) if is_kubernetes else findings)


def _last_heard(seen: Observation, memory: AgentMemory) -> WatchRecord:
    """A record that is damaged, or gone, takes nothing back that the operator said."""
    if isinstance(seen.record, GeneveilError) or seen.record == WatchRecord():
        return memory.record
    return seen.record


def _judge_settings(
    seen: Observation, memory: AgentMemory, *, is_lost: bool
) -> tuple[ClusterSettings, ClusterSettings | None, list[Finding]]:
    """What is in force, and of that what is known."""
    settings = seen.settings if isinstance(seen.settings, ClusterSettings) else None
    findings = settings_findings(settings, is_missing=is_lost and seen.settings is None)
    remembered = settings or (memory.settings if is_lost else None)
    known = remembered or ClusterSettings()
    if is_lost and remembered is None:
        known = replace(known, encapsulation=guess_encapsulation(seen.ike))
    return known, remembered, findings


def _judge_certificate(
    seen: Observation, trust: Trust, record: WatchRecord
) -> tuple[bool, list[Finding]]:
    if trust.certificate is None:
        return False, []
    shut_out = trust.is_revoked or is_shut_out(seen.failures.watch)
    renews = must_renew(trust.certificate, trust.authority, record, seen.now, shut_out)
    findings = judge_renewal(trust.certificate, seen.failures.renewal, renews, seen.now)
    if trust.identity is not None or isinstance(seen.failures.watch, RefusedError):
        findings += judge_watch(record, seen.failures.watch, seen.now)
    return renews, findings


def _judge_counters(
    seen: Observation,
    memory: AgentMemory,
    peers: tuple[PeerStatus, ...],
    wanted: tuple[Connection, ...],
    some_closed: bool,
) -> tuple[AgentMemory, list[Finding]]:
    states = None if isinstance(seen.states, GeneveilError) else seen.states
    refused, at_esp = judge_refused(states, wanted, memory.refused, seen.now_seconds)
    memory = replace(memory, refused=refused)
    if isinstance(seen.guard, GeneveilError):
        return memory, at_esp
    # What pods send to a peer that is closed, because it was revoked, is dropped as it must be.
    all_up = bool(peers) and all(peer.state is PeerState.UP for peer in peers) and not some_closed
    all_up = all_up and not any(pair.is_missing for pair in memory.beginnings.values())
    stood = all_up and memory.was_all_up  # else it may be from while a pair was down
    growths, in_clear = judge_cleartext(seen.guard, memory.growths, stood, seen.now_seconds)
    if seen.guard is memory.counted:  # not read anew: what was counted since is still to come
        all_up = stood
    memory = replace(memory, growths=growths, was_all_up=all_up, counted=seen.guard)
    return memory, [*in_clear, *at_esp]


def _remember_trust(
    seen: Observation,
    memory: AgentMemory,
    trust: Trust,
    question: tuple[TrustFiles, str, ClusterSettings],
) -> AgentMemory:
    if memory.judged is not None and memory.judged.trust is trust:
        return memory
    return replace(memory, judged=JudgedTrust(question, trust, seen.now_seconds, seen.now))


def _never_narrower(seen: Observation, memory: AgentMemory, spec: GuardSpec) -> GuardSpec:
    # Nobody knows the tunnels, or the ports: what was guarded for one of them stays guarded, also
    # while somebody has just removed the guard or it can't be read.
    spec = spec.joined_with(memory.guard) if memory.guard else spec
    return spec if isinstance(seen.guard, GeneveilError) else spec.widened_by(seen.guard)


def _is_retired(seen: Observation, memory: AgentMemory, trust: Trust) -> bool:
    identity = trust.identity
    if identity is None or not identity.retiring_key_id or isinstance(seen.ike, GeneveilError):
        return False
    is_loaded = memory.mesh.identity == identity_digest(identity)
    return is_loaded and identity.retiring_key_id not in seen.ike.key_ids


def _judge_trust(
    seen: Observation, memory: AgentMemory, chassis: str, settings: ClusterSettings
) -> Trust:
    judged = memory.judged
    if (
        judged is not None
        and judged.trust.identity is not None
        and judged.question == (seen.trust_files, chassis, settings)
        and seen.now_seconds - judged.at_seconds < TRUST_STANDS_SECONDS
        and abs((seen.now - judged.at).total_seconds()) < TRUST_STANDS_SECONDS
    ):
        return judged.trust
    known = judged.trust.crls if judged is not None else ()
    return judge_trust(seen.trust_files, chassis, settings, seen.now, known)


def _plan_actions(
    seen: Observation,
    memory: AgentMemory,
    plan: MeshPlan | None,
    guard: GuardSpec,
    trust: Trust,
    revoked: frozenset[str],
    orphans: Orphans,
) -> tuple[list[Action], AgentMemory]:
    actions: list[Action] = []
    if isinstance(seen.guard, GeneveilError) or not seen.guard.stands_for(guard):
        actions.append(ApplyGuard(guard))
    if seen.bolt != guard:
        actions.append(ApplyBolt(guard))
    devices = choose_devices(seen.addresses, memory.snapshot, plan)
    actions += plan_sentinel(seen.sentinel, devices, guard)
    deleted = [DeleteState(s.destination, s.spi, s.protocol) for s in orphans.replaced]
    if plan is None or isinstance(seen.ike, GeneveilError):
        return [*actions, *end_closed(seen.ike, memory.record), *deleted], memory
    carried = orphans.carried
    mesh = for_instance(memory.mesh, seen.ike.instance, seen.now_seconds)
    mesh = for_pairs(mesh, frozenset({c.name for c in plan.connections} | seen.ike.names))
    attempts = track_attempts(mesh, plan.connections, seen.ike, seen.now_seconds, carried)
    stale = track_stale(mesh, seen.ike, seen.now_seconds)
    mesh = replace(mesh, attempts=attempts, stale=stale)
    broken = frozenset(name for name, pair in memory.beginnings.items() if pair.must_repair)
    states = None if isinstance(seen.states, GeneveilError) else seen.states
    is_same = memory.mesh.instance == seen.ike.instance  # another charon counts from 1 again
    before = memory.dead if is_same else DeadWatch(heard=memory.dead.heard)
    used = judge_in_use(
        plan.connections,
        seen.ike.sas,
        states,
        None if isinstance(seen.policies, GeneveilError) else seen.policies,
        memory.arrivals,
        seen.now_seconds,
    )
    dead, given_up = judge_dead(
        plan.connections, seen.ike.sas, states, used.sas, before, seen.now_seconds
    )
    memory = replace(memory, arrivals=used.sightings, dead=dead)
    actions += diff_ike(
        plan.connections, trust.identity, seen.ike, mesh, seen.now_seconds, revoked, broken,
        carried, used.sas,
    )  # fmt: skip
    actions += [*given_up, *deleted]
    return actions, replace(memory, mesh=mesh)


def _judge_orphans(
    seen: Observation,
    memory: AgentMemory,
    plan: MeshPlan | None,
    wanted: tuple[Connection, ...],
) -> tuple[AgentMemory, Orphans]:
    """`wanted`: what the plan was before peers were closed."""
    states = None if isinstance(seen.states, GeneveilError) else seen.states
    closed, former = list[Connection](), list[Connection]()
    if plan is not None:
        left = None if states is None else find_left(wanted, states)
        memory = replace(memory, met=remember(memory.met, left, wanted, plan.guard.ports))
        names = closed_names(memory.record)
        said = memory.record.revoked_chassis | memory.record.expired_chassis
        gone = find_former(left or {}, plan.chassis, memory.met, said)
        closed = [c for c in (*wanted, *gone) if name_key(c.remote_chassis) in names]
        former = [c for c in gone if name_key(c.remote_chassis) not in names]
    orphans = judge_orphans(
        plan.connections if plan else (),
        None if isinstance(seen.ike, GeneveilError) else seen.ike.sas,
        states,
        memory.sightings,
        seen.now_seconds,
        seen.now,
        tuple(closed),
        tuple(former),
    )
    return memory, orphans


def _judge_peers(
    seen: Observation, memory: AgentMemory, plan: MeshPlan | None, orphans: Orphans
) -> tuple[AgentMemory, tuple[PeerStatus, ...], list[Finding]]:
    sas = None if isinstance(seen.ike, GeneveilError) else seen.ike.sas
    kernel = KernelView(
        None if isinstance(seen.states, GeneveilError) else seen.states,
        None if isinstance(seen.policies, GeneveilError) else seen.policies,
    )
    peers: list[PeerStatus] = []
    findings: list[Finding] = []
    beginnings: dict[str, Beginning] = {}
    for connection in plan.connections if plan else ():
        before = memory.beginnings.get(connection.name)
        is_carried = connection.name in orphans.carried
        own = None if isinstance(seen.ike, GeneveilError) else seen.ike.sas_of(connection)
        peer, finding, beginning = judge_peer(connection, own, kernel, before, seen.now, is_carried)
        watch = memory.mesh.esp.get(connection.name)
        peers.append(replace(peer, fallback_since=fallback_since(watch, seen)))
        findings += [finding] if finding else []
        beginnings[connection.name] = beginning
    asked, silent = judge_silence(
        plan.connections if plan else (), sas, memory.asked_since, seen.now_seconds
    )
    sightings = orphans.sightings
    memory = replace(memory, beginnings=beginnings, asked_since=asked, sightings=sightings)
    return memory, tuple(peers), [*findings, *silent]
