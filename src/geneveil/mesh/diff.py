"""The difference between the plan and what charon has, as actions in the order to do them.

    credentials -> connections -> what has to go -> who initiates -> what moves

Credentials come before connections, and connections before anything that may use them: an exchange
that begins without a key fails, and blocks its flow for a while.

Only what carries our prefix is ever taken away, and only by someone who has seen a complete
picture of the tunnels. An SA is never touched because something was loaded again.
"""

from geneveil.mesh.actions import (
    Action,
    ClearCredentials,
    Initiate,
    LoadConnection,
    LoadCrl,
    LoadIdentity,
    TerminateChildSa,
    TerminateIkeSa,
    UnloadConnection,
    UnloadKey,
)
from geneveil.mesh.doubles import doubles, meets
from geneveil.mesh.initiation import backoff_seconds, first_attempt_seconds
from geneveil.mesh.memory import Attempts, Memory, connection_digest, identity_digest
from geneveil.mesh.reauthentication import (
    begins_anew,
    choose_salt,
    missing_children,
    moves,
    retiring_key_is_idle,
)
from geneveil.model.connection import (
    OWNED_PREFIX,
    Connection,
    Direction,
    Identity,
    IkeSa,
    ObservedIke,
)

CARRIED_SECONDS = 10.0
"""How long the peer of a pair that is carried has to make its own child, before this node does."""

MEETING_SECONDS = 1.0
"""Whoever has begun, and is the peer, is proven within this time, or needs help."""

HALF_MADE_SECONDS = 3
"""A peer that is proven has both children within this time, with a lost message and on a busy
machine too, or needs help."""

REPAIR_PATIENCE = 2
"""A repair costs what stands: the second one waits as long as the third attempt to begin a pair."""

REPAIR_SECONDS = 10.0
"""A pair that is down this soon after its repair is down because of it."""


def diff_ike(
    connections: tuple[Connection, ...],
    identity: Identity | None,
    observed: ObservedIke,
    memory: Memory,
    now_seconds: float,
    revoked: frozenset[str] = frozenset(),
    broken: frozenset[str] = frozenset(),
    carried: frozenset[str] = frozenset(),
    in_use: frozenset[tuple[str, int]] | None = frozenset(),
) -> list[Action]:
    """Decide what to do in charon.

    Args:
        connections: the plan, from a complete picture of the tunnels.
        identity: None while there is none that can be used: then nothing is loaded or initiated;
            what stands, stands.
        memory: already of this instance of charon; see `for_instance` and `track_attempts`.
        revoked: names of connections that are not in `connections` because the peer's certificate
            was revoked: their SAs end at once, whether or not the peer answers.
        broken: names of connections whose children charon lists and the kernel lacks. charon does
            not look there, and would go on so until the next rekeying: it has to make them anew.
        carried: names of connections that charon does not know to be up, but whose traffic SAs in
            the kernel carry, of a charon before this one.
        in_use: destination and SPI of each SA that Geneve travels through; None if that could not
            be read: then no double is closed.
    """
    actions: list[Action] = []
    if identity is not None:
        actions += _credentials(identity, observed, memory)
        reload = any(isinstance(action, LoadIdentity) for action in actions)
        actions += _loads(connections, identity, observed, memory, reload)
    whole = tuple(c for c in connections if c.name not in broken)
    actions += _removals(connections, observed, revoked, broken)
    actions += _spares(whole, observed, memory, now_seconds, in_use)
    if identity is not None:  # without one a pair could not come back
        for connection in connections:
            if connection.name in broken:
                actions += _repairs(connection, observed, memory, now_seconds)
            is_carried = connection.name in carried
            actions += _initiations(connection, observed, memory, now_seconds, is_carried)
        loads = any(isinstance(action, LoadConnection) for action in actions)
        for connection in () if loads else whole:
            actions += moves(connection, identity, observed, memory, now_seconds, len(connections))
        if not loads and retiring_key_is_idle(connections, identity, observed, memory, now_seconds):
            actions.append(UnloadKey(identity.retiring_key_id))
    return actions


def track_attempts(
    memory: Memory,
    connections: tuple[Connection, ...],
    observed: ObservedIke,
    now_seconds: float,
    carried: frozenset[str] = frozenset(),
) -> dict[str, Attempts]:
    """Keep the count for the pairs that are still down, begin it for those that are now.

    A pair that this node took down to repair it, that is carried without its charon knowing, or
    that its charon lost with its memory, is begun at once: nobody else may know.
    """
    is_anew = now_seconds - memory.anew_seconds < REPAIR_SECONDS
    down = [c.name for c in connections if missing_children(c, observed.sas_of(c))]
    begun = {}
    for name in down:
        repair = memory.repairs.get(name)
        is_ours = repair is not None and now_seconds - repair.latest < REPAIR_SECONDS
        at_once = is_ours or is_anew or name in carried
        begun[name] = Attempts(down_since=now_seconds, at_once=at_once)
    return {name: memory.attempts.get(name, begun[name]) for name in down}


def next_attempt_at(
    connections: tuple[Connection, ...], memory: Memory, now_seconds: float
) -> float | None:
    """When the next pair that is down is to be tried; None if none is waiting for its time.

    One whose time has come waits for something else, such as the end of the attempt under way.
    """
    due = (
        _due_at(connection, memory.attempts[connection.name])
        for connection in connections
        if connection.name in memory.attempts
    )
    return min((at for at in due if at > now_seconds), default=None)


def _credentials(identity: Identity, observed: ObservedIke, memory: Memory) -> list[Action]:
    actions: list[Action] = []
    # What somebody else loaded is not ours to forget. Connections name the authorities that they
    # accept, so that one that stays in memory is not believed.
    own_keys = frozenset({memory.key_id, identity.retiring_key_id})
    stays = identity.dropped_fingerprints & observed.certificates
    clear = bool(stays) and observed.is_ours_alone(own_keys)
    if clear:
        actions.append(ClearCredentials())
    # Before the authorities that they are of: in between, whoever is on a list would be let in.
    for crl, fingerprint in zip(identity.crls_der, identity.crl_fingerprints, strict=True):
        if clear or fingerprint not in observed.certificates:
            actions.append(LoadCrl(crl, fingerprint))
    if clear or _identity_missing(identity, observed, memory):
        actions.append(LoadIdentity(identity))
    return actions


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
    actions: list[Action] = []
    for connection in connections:
        salt = choose_salt(connection, observed, memory)
        if (
            reload
            or connection.name not in there
            or memory.loaded.get(connection.name) != connection_digest(connection, identity, salt)
        ):
            actions.append(LoadConnection(connection, identity, salt))
    return actions


def _removals(
    connections: tuple[Connection, ...],
    observed: ObservedIke,
    revoked: frozenset[str],
    broken: frozenset[str],
) -> list[Action]:
    desired = {connection.name: connection for connection in connections}
    actions: list[Action] = [
        UnloadConnection(connection.name)
        for connection in observed.connections
        if connection.name.startswith(OWNED_PREFIX) and connection.name not in desired
    ]
    for sa in observed.sas:
        if sa.connection.startswith(OWNED_PREFIX) and sa.connection not in desired:
            why = "its peer is closed" if sa.connection in revoked else "its tunnel is gone"
            # A peer that is at that address no more would be waited for, and asked, for a minute.
            actions.append(TerminateIkeSa(sa.unique_id, sa.connection, why, at_once=True))
    return actions


def _spares(
    connections: tuple[Connection, ...],
    observed: ObservedIke,
    memory: Memory,
    now_seconds: float,
    in_use: frozenset[tuple[str, int]] | None,
) -> list[Action]:
    """What SAs of wanted connections have that is not wanted (any more).

    Not of a pair that is broken: what is spare in charon may be all that is left.
    """
    actions: list[Action] = []
    for connection in connections:
        own = list(observed.sas_of(connection))
        established = [sa for sa in own if sa.is_established]
        surplus = _surplus(connection, established)
        if not surplus and in_use is not None:
            surplus = doubles(connection, established, in_use)
            surplus = surplus or meets(connection, own, memory, now_seconds, in_use)
        actions += surplus
    return actions


def _surplus(connection: Connection, established: list[IkeSa]) -> list[Action]:
    wanted = {str(child) for child in connection.children}
    actions: list[Action] = []
    for sa in established:
        for child in sa.children:
            if child.name not in wanted:
                why = "its port is no tunnel's any more"
                actions.append(TerminateChildSa(child.unique_id, sa.connection, why))
    return actions


def _initiations(
    connection: Connection,
    observed: ObservedIke,
    memory: Memory,
    now_seconds: float,
    is_carried: bool,
) -> list[Action]:
    missing = missing_children(connection, observed.sas_of(connection))
    attempts = memory.attempts.get(connection.name)
    if attempts is None:
        return []
    if is_carried and now_seconds - attempts.down_since < CARRIED_SECONDS:
        missing = [child for child in missing if child.direction is Direction.OUT]
    if not missing:
        return []
    own = list(observed.sas_of(connection))
    under_way = any(sa.is_starting or sa.is_busy for sa in own)
    if under_way or now_seconds < _due_at(connection, attempts):
        return []
    if _peer_is_at_it(connection, observed, now_seconds - attempts.down_since):
        return []
    return [Initiate(connection.name, child) for child in missing]


def _peer_is_at_it(connection: Connection, observed: ObservedIke, down_seconds: float) -> bool:
    """Whether the peer is just making what is missing: both would make everything twice.

    Who begins an IKE_SA is not proven, so that is believed for a moment only; of one that stands
    it is, and the peer makes its second child there an instant later.
    """
    begun = observed.begun_at(connection.local_ip, connection.remote_ip)
    if begun and down_seconds < MEETING_SECONDS:
        return True
    return any(
        sa.is_established and (sa.established_seconds or 0) < HALF_MADE_SECONDS
        for sa in observed.sas_of(connection)
        if not sa.is_initiator
    )


def _repairs(
    connection: Connection, observed: ObservedIke, memory: Memory, now_seconds: float
) -> list[Action]:
    """Close the pair, without waiting for the peer, and begin it; again only after a back-off:
    whatever empties the kernel may go on doing so."""
    before = memory.repairs.get(connection.name)
    if before is not None and now_seconds < before.latest + backoff_seconds(
        connection.local_chassis, connection.remote_chassis, before.count + REPAIR_PATIENCE
    ):
        return []
    why = "the kernel lacks its SAs or policies"
    own = list(observed.sas_of(connection))
    closes: list[Action] = [
        TerminateIkeSa(sa.unique_id, sa.connection, why, at_once=True, repairs=True) for sa in own
    ]
    if not begins_anew(connection, own, memory):
        return closes
    # Begun before the peer hears that the old one ends, and begins too.
    return [*(Initiate(connection.name, child) for child in connection.children), *closes]


def _due_at(connection: Connection, attempts: Attempts) -> float:
    local, remote = connection.local_chassis, connection.remote_chassis
    grace = 0.0 if attempts.at_once else first_attempt_seconds(local, remote)
    due = attempts.down_since + grace
    if attempts.count:
        due = max(due, attempts.latest + backoff_seconds(local, remote, attempts.count))
    return due
