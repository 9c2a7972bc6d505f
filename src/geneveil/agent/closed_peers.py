"""Peers that the operator has this node close: revoked, or expired long ago. Pure.

It is the operator's word that ends an SA that stands, never this node's clock alone: a time server
that sets every clock ten years on would end them all (docs/decisions/0010-expiry.md).
"""

from dataclasses import replace

from geneveil.agent.rotation.watch import WatchRecord
from geneveil.mesh.plan import MeshPlan
from geneveil.model.health import Finding, Severity
from geneveil.model.names import name_key


def close_peers(
    plan: MeshPlan, record: WatchRecord
) -> tuple[MeshPlan, frozenset[str], list[Finding]]:
    """The plan without them, the names of their connections, and what to say about them.

    Nothing is said of those that have no tunnel here: a cluster whose nodes come and go has
    thousands, for years.
    Fails closed: yes; what the operator said last stays in force while it is silent.
    """
    closed = closed_names(record)
    revoked = {name_key(chassis) for chassis in record.revoked_chassis}
    gone = [c for c in plan.connections if name_key(c.remote_chassis) in closed]
    kept = tuple(c for c in plan.connections if name_key(c.remote_chassis) not in closed)
    findings = [
        _revoked(chassis) if name_key(chassis) in revoked else _expired(chassis)
        for chassis in sorted({connection.remote_chassis for connection in gone})
    ]
    return replace(plan, connections=kept), frozenset(c.name for c in gone), findings


def closed_names(record: WatchRecord) -> frozenset[str]:
    """The chassis that the operator has this node close, as names are compared."""
    return frozenset(map(name_key, record.revoked_chassis | record.expired_chassis))


def _revoked(chassis: str) -> Finding:
    return Finding(
        "peer-revoked",
        Severity.INFO,
        f"peer {chassis}",
        "its certificate was revoked; it stays closed",
        "to let it in again, put this into its token file: geneveil operator token "
        f"{chassis} --readmit",
    )


def _expired(chassis: str) -> Finding:
    return Finding(
        "peer-expired",
        Severity.ERROR,
        f"peer {chassis}",
        "its certificate ended more than a week ago, says the operator; it stays closed",
        f"make a new token and put it into its token file: geneveil operator token {chassis}",
    )
