"""Peers that the operator has this node close: revoked, or expired long ago. Pure.

It is the operator's word that ends an SA that stands, never this node's clock alone: a time server
that sets every clock ten years on would end them all (docs/decisions/0010-expiry.md).
"""

from dataclasses import replace

from geneveil.agent.rotation.watch import WatchRecord
from geneveil.mesh.actions import TerminateIkeSa, UnloadConnection
from geneveil.mesh.plan import MeshPlan
from geneveil.model.connection import OWNED_PREFIX, ObservedIke
from geneveil.model.errors import GeneveilError
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


def end_closed(
    ike: ObservedIke | GeneveilError, record: WatchRecord
) -> list[UnloadConnection | TerminateIkeSa]:
    """What charon has of them goes in a turn without a plan too: an agent that starts while Open
    vSwitch's database is away knows no tunnels, and whom the operator named all the same."""
    closed = closed_names(record)
    if isinstance(ike, GeneveilError) or not closed:
        return []
    names = {c.name for c in ike.connections if name_key(c.remote_id) in closed}
    names |= {sa.connection for sa in ike.sas if name_key(sa.remote_id) in closed}
    ours = {name for name in names if name.startswith(OWNED_PREFIX)}
    return [
        *(UnloadConnection(c.name) for c in ike.connections if c.name in ours),
        *(
            TerminateIkeSa(sa.unique_id, sa.connection, "its peer is closed", at_once=True)
            for sa in ike.sas
            if sa.connection in ours
        ),
    ]


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
