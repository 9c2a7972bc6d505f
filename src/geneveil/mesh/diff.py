"""The difference between the plan and what charon has, as actions in the order to do them.

    identity -> connections -> what has to go -> who initiates

Credentials come before connections, and connections before anything that may use them: an exchange
that begins without a key fails, and blocks its flow for a while.

Only what carries our prefix is ever taken away, and only by someone who has seen a complete
picture of the tunnels. An SA is never touched because something was loaded again.
"""

from collections.abc import Iterable

from geneveil.mesh.actions import (
    Action,
    Initiate,
    LoadConnection,
    LoadIdentity,
    TerminateChildSa,
    TerminateIkeSa,
    UnloadConnection,
)
from geneveil.mesh.initiation import backoff_seconds, first_attempt_seconds, is_initiator
from geneveil.mesh.memory import Attempts, Memory, connection_digest, identity_digest
from geneveil.model.connection import (
    OWNED_PREFIX,
    ChildName,
    Connection,
    Identity,
    IkeSa,
    ObservedIke,
)

SETTLED_SECONDS = 5
"""An SA this old has all its children; only then is its double closed."""


def diff_ike(
    connections: tuple[Connection, ...],
    identity: Identity | None,
    observed: ObservedIke,
    memory: Memory,
    now_seconds: float,
) -> list[Action]:
    """Decide what to do in charon.

    Args:
        connections: the plan, from a complete picture of the tunnels.
        identity: None while there is none that can be used: then nothing is loaded or initiated;
            what stands, stands.
        memory: already of this instance of charon; see `for_instance` and `track_attempts`.
    """
    actions: list[Action] = []
    if identity is not None:
        reload = _identity_missing(identity, observed, memory)
        if reload:
            actions.append(LoadIdentity(identity))
        actions += _loads(connections, identity, observed, memory, reload)
    actions += _removals(connections, observed)
    if identity is not None:
        for connection in connections:
            actions += _initiations(connection, observed, memory, now_seconds)
    return actions


def missing_children(connection: Connection, sas: Iterable[IkeSa]) -> list[ChildName]:
    """The children that no established IKE_SA of the connection has installed."""
    installed = {
        child.name
        for sa in sas
        if sa.connection == connection.name and sa.is_established
        for child in sa.children
        if child.is_installed
    }
    return [child for child in connection.children if str(child) not in installed]


def track_attempts(
    memory: Memory, connections: tuple[Connection, ...], observed: ObservedIke, now_seconds: float
) -> dict[str, Attempts]:
    """Keep the count for the pairs that are still down, begin it for those that are now."""
    return {
        connection.name: memory.attempts.get(connection.name, Attempts(down_since=now_seconds))
        for connection in connections
        if missing_children(connection, observed.sas)
    }


def _identity_missing(identity: Identity, observed: ObservedIke, memory: Memory) -> bool:
    wanted = {identity.fingerprint, *identity.trust_fingerprints}
    return (
        memory.identity != identity_digest(identity)
        or memory.key_id not in observed.key_ids
        or not wanted <= observed.certificates
    )


def _loads(
    connections: tuple[Connection, ...],
    identity: Identity,
    observed: ObservedIke,
    memory: Memory,
    reload: bool,
) -> list[Action]:
    there = {connection.name for connection in observed.connections}
    return [
        LoadConnection(connection, identity)
        for connection in connections
        if reload
        or connection.name not in there
        or memory.loaded.get(connection.name) != connection_digest(connection, identity)
    ]


def _removals(connections: tuple[Connection, ...], observed: ObservedIke) -> list[Action]:
    desired = {connection.name: connection for connection in connections}
    actions: list[Action] = [
        UnloadConnection(connection.name)
        for connection in observed.connections
        if connection.name.startswith(OWNED_PREFIX) and connection.name not in desired
    ]
    for sa in observed.sas:
        if sa.connection.startswith(OWNED_PREFIX) and sa.connection not in desired:
            actions.append(TerminateIkeSa(sa.unique_id, sa.connection, "its tunnel is gone"))
    for connection in connections:
        own = [sa for sa in observed.sas if sa.connection == connection.name]
        actions += _surplus(connection, own)
    return actions


def _surplus(connection: Connection, sas: list[IkeSa]) -> list[Action]:
    """What an SA of a wanted connection has that is not wanted (any more)."""
    established = [sa for sa in sas if sa.is_established]
    wanted = {str(child) for child in connection.children}
    actions: list[Action] = []
    for sa in established:
        if connection.force_encapsulation and any(not c.encapsulated for c in sa.children):
            actions.append(TerminateIkeSa(sa.unique_id, sa.connection, "it is not encapsulated"))
            continue
        for child in sa.children:
            if child.name not in wanted:
                why = "its port is no tunnel's any more"
                actions.append(TerminateChildSa(child.unique_id, sa.connection, why))
    return actions or _doubles(connection, established)


def _doubles(connection: Connection, established: list[IkeSa]) -> list[Action]:
    """Close all but one IKE_SA of a pair: the initiator does, so that one hand decides."""
    if len(established) < 2 or not is_initiator(
        connection.local_chassis, connection.remote_chassis
    ):
        return []
    complete = [sa for sa in established if not missing_children(connection, [sa])]
    settled = [sa for sa in complete if (sa.established_seconds or 0) >= SETTLED_SECONDS]
    if not settled:
        return []
    # The newest: the peer's INITIAL_CONTACT may already have closed the older one over there.
    kept = min(settled, key=lambda sa: (sa.established_seconds or 0, -sa.unique_id))
    return [
        TerminateIkeSa(sa.unique_id, sa.connection, f"it doubles IKE_SA {kept.unique_id}")
        for sa in established
        if sa is not kept and (sa.established_seconds or 0) >= SETTLED_SECONDS
    ]


def _initiations(
    connection: Connection, observed: ObservedIke, memory: Memory, now_seconds: float
) -> list[Action]:
    missing = missing_children(connection, observed.sas)
    attempts = memory.attempts.get(connection.name)
    if not missing or attempts is None:
        return []
    own = [sa for sa in observed.sas if sa.connection == connection.name]
    under_way = any(sa.is_starting or sa.is_busy for sa in own)
    if under_way or now_seconds < _due_at(connection, attempts):
        return []
    return [Initiate(connection.name, child) for child in missing]


def _due_at(connection: Connection, attempts: Attempts) -> float:
    local, remote = connection.local_chassis, connection.remote_chassis
    due = attempts.down_since + first_attempt_seconds(local, remote)
    if attempts.count:
        due = max(due, attempts.latest + backoff_seconds(local, remote, attempts.count))
    return due
