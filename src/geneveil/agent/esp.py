"""Which pairs have lost ESP, from one turn's picture. Pure; the rules are in mesh.encapsulation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from geneveil.agent.observe import Observation
from geneveil.mesh.actions import AskEcho
from geneveil.mesh.encapsulation import EspPhase, EspWatch, explain_esp, must_ask, watch_esp
from geneveil.mesh.plan import MeshPlan
from geneveil.model.connection import Connection
from geneveil.model.errors import GeneveilError
from geneveil.model.health import Finding, Severity


@dataclass(frozen=True)
class EspVerdict:
    """What came of it.

    Attributes:
        plan: with those connections encapsulated that need it now.
        watches: for the memory.
        answered_pairs: whose echoes are to be answered: all that are encapsulated, since either
            end may be the one that asks.
    """

    plan: MeshPlan
    watches: Mapping[str, EspWatch]
    asks: tuple[AskEcho, ...] = ()
    findings: tuple[Finding, ...] = ()
    answered_pairs: frozenset[tuple[str, str]] = frozenset()


def judge_esp(seen: Observation, before: Mapping[str, EspWatch], plan: MeshPlan) -> EspVerdict:
    """Decide for each pair whether ESP gets through.

    While charon cannot be read nothing changes. A pair that is encapsulated by configuration is
    not asked about: it stays so.
    """
    watches: dict[str, EspWatch] = {}
    asks: list[AskEcho] = []
    findings: list[Finding] = []
    echoes = frozenset() if isinstance(seen.echoes, GeneveilError) else seen.echoes
    for connection in plan.connections:
        if connection.force_encapsulation:
            continue
        watch = before.get(connection.name)
        if not isinstance(seen.ike, GeneveilError):
            is_echoed = (connection.local_ip, connection.remote_ip) in echoes
            watch = watch_esp(
                connection,
                seen.ike.sas_of(connection),
                watch,
                seen.now_seconds,
                is_echoed=is_echoed,
            )
            if must_ask(watch, seen.now_seconds):
                asks.append(AskEcho(connection.name, connection.local_ip, connection.remote_ip))
        if watch is not None:
            watches[connection.name] = watch
            finding = explain_esp(connection, watch)
            findings += [finding] if finding else []
    if isinstance(seen.echoes, GeneveilError):
        findings.append(_no_echoes(seen.echoes))
    forced = {name for name, watch in watches.items() if watch.is_forced}
    connections = tuple(
        replace(c, force_encapsulation=True) if c.name in forced else c for c in plan.connections
    )
    return EspVerdict(
        replace(plan, connections=connections),
        watches,
        tuple(asks),
        tuple(findings),
        _encapsulated(seen, plan.connections),
    )


def fallback_since(watch: EspWatch | None, seen: Observation) -> datetime | None:
    """When a pair fell back, by the node's clock; None for one that has not."""
    if watch is None or watch.phase is not EspPhase.FALLEN_BACK:
        return None
    return seen.now - timedelta(seconds=max(seen.now_seconds - watch.since, 0.0))


def _encapsulated(
    seen: Observation, connections: tuple[Connection, ...]
) -> frozenset[tuple[str, str]]:
    if isinstance(seen.ike, GeneveilError):
        return frozenset()
    names = {
        sa.connection for sa in seen.ike.sas if any(child.encapsulated for child in sa.children)
    }
    return frozenset(
        (c.local_ip, c.remote_ip)
        for c in connections
        if c.name in names and not c.force_encapsulation
    )


def _no_echoes(error: GeneveilError) -> Finding:
    return Finding(
        "esp-echo-unavailable",
        Severity.WARNING,
        "echo in ESP",
        f"{error.what}: {error.why}; a pair that fell back to UDP 4500 stays there",
        error.remedy,
    )
