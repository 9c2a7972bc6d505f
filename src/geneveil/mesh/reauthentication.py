"""How a pair gets a new IKE_SA without losing a packet. Pure; both nodes decide by it.

    u: in, out              one IKE_SA, made with the certificate that is being replaced
    u: in, out   v: out     the node with the new certificate makes another, with its own `out`
    u: in, out   v: out,in  the peer sees a newer IKE_SA and makes its own `out` there: our `in`
    v: in, out              what is carried by something newer is closed

The point is that each node makes the children that carry its own traffic. Whoever asks for a child
installs it last: when the kernel of the asking node begins to send through it, the peer can already
receive. The other way round, the peer would send through an SA that the asking node does not have
yet, and what it sent until its answer arrived would be lost. So charon's own re-authentication
(`make_before_break`), in which one side makes all children anew, does not do; besides, it goes on
with the configuration, and so the certificate, that the old IKE_SA was made with
(trigger_mbb_reauth in task_manager_v2.c of strongSwan).

charon puts a child into any IKE_SA with the configuration that is loaded. So that it is the newest
one, what is loaded is changed, by a salt, as soon as a node has its own children on the newest:
whatever is made next, by either side, is then the only one with that configuration.
"""

import hashlib
from collections.abc import Iterable

from geneveil.mesh.actions import Action, Initiate
from geneveil.mesh.encapsulation import EspPhase, EspWatch
from geneveil.mesh.initiation import backoff_seconds, first_attempt_seconds
from geneveil.mesh.memory import Memory, Moves
from geneveil.model.connection import (
    ChildName,
    Connection,
    Direction,
    Identity,
    IkeSa,
    ObservedIke,
)
from geneveil.model.names import name_key

STAGGER_FIRST_SECONDS = 2.0
STAGGER_SECONDS_A_PEER = 0.2
"""A handshake takes a few milliseconds of each node; a thousand of them three minutes."""

TIE_SECONDS = 2
"""charon tells ages in whole seconds: IKE_SAs made together are not older than one another."""

MOST_MOVES = 3
"""A child that does not come to where it belongs is still encrypted where it is."""


def missing_children(connection: Connection, sas: Iterable[IkeSa]) -> list[ChildName]:
    """The children that no established IKE_SA of the connection has installed."""
    installed = {
        name
        for sa in sas
        if sa.connection == connection.name and sa.is_established
        for name in _installed(sa)
    }
    return [child for child in connection.children if str(child) not in installed]


def choose_salt(connection: Connection, observed: ObservedIke, memory: Memory) -> int:
    """What the loaded connection must carry, so that a child is put where it belongs.

    Once the newest IKE_SA has this node's children, whatever is made next must differ from it: it
    gets that IKE_SA's unique id. Until then, what is loaded is what the newest was made with, and
    nothing else was: it stays. After a restart nobody knows what is loaded; it may be what an older
    IKE_SA was made with, and a child that is asked for would be put there again and again. So then
    too it is changed: one more IKE_SA is made, and the older ones are closed as its doubles.
    """
    established = _established(connection, observed)
    if established:
        newest = _newest(established)
        if all(str(child) in _installed(newest) for child in _own(connection)):
            return newest.unique_id
        if connection.name not in memory.salts:
            return newest.unique_id
    return memory.salts.get(connection.name, 0)


def begins_anew(connection: Connection, own: list[IkeSa], memory: Memory) -> bool:
    """Whether what is asked for now comes to an IKE_SA of its own: none was made with what is
    loaded, for that carries the id of the newest."""
    established = [sa for sa in own if sa.is_established]
    if not established or len(established) < len(own):
        return False
    is_loaded = connection.name in memory.loaded
    return is_loaded and memory.salts.get(connection.name) == _newest(established).unique_id


def is_stale(sa: IkeSa, memory: Memory, now_seconds: float) -> bool:
    """Whether an IKE_SA may have been made before the connection was loaded as it is now."""
    since = memory.since.get(sa.connection)
    if since is None or now_seconds - sa.age_seconds - 1 <= since.at_seconds:
        return True
    return bool(_ids(sa) & memory.stale.get(sa.connection, frozenset()))


def track_stale(
    memory: Memory, observed: ObservedIke, now_seconds: float
) -> dict[str, frozenset[int]]:
    """Follow what an earlier identity made through its rekeyings; at every turn.

    A rekeyed IKE_SA counts its age from then on, and its children are rekeyed too: a few hours on
    it looks as if it had been made with the new identity. But it takes its children with it, and a
    child that replaces one is on the same IKE_SA: whoever shares an id with one that was stale the
    turn before is stale.
    """
    stale: dict[str, frozenset[int]] = {}
    for sa in observed.sas:
        if sa.connection in memory.since and is_stale(sa, memory, now_seconds):
            stale[sa.connection] = stale.get(sa.connection, frozenset()) | _ids(sa)
    return stale


def _ids(sa: IkeSa) -> frozenset[int]:
    # charon counts IKE_SAs and CHILD_SAs apart: the second are told by their sign.
    return frozenset({sa.unique_id, *(-child.unique_id for child in sa.children)})


def moves(
    connection: Connection,
    identity: Identity,
    observed: ObservedIke,
    memory: Memory,
    now_seconds: float,
    peers: int,
) -> list[Action]:
    """Children that carry this node's traffic and belong on a newer IKE_SA than they are on.

    Args:
        peers: among how many the work is to be spread.
    """
    own = observed.sas_of(connection)
    if missing_children(connection, own) or any(sa.is_starting or sa.is_busy for sa in own):
        return []
    established = _established(connection, observed)
    newest = _newest(established)
    out = _own(connection)
    since = memory.since.get(connection.name)
    if identity.retiring_key_id and is_stale(newest, memory, now_seconds):
        begun = since.at_seconds if since else now_seconds
        before = moves_to(memory, connection, 0)
        if now_seconds < _due(connection, before, begun + _stagger(connection, peers)):
            return []
        return [Initiate(connection.name, child, 0) for child in out]
    remakes = _remakes(connection, newest, memory, now_seconds)
    if remakes is not None:
        return remakes
    lacking = [child for child in out if str(child) not in _installed(newest)]
    elsewhere = [sa for sa in established if {str(child) for child in lacking} & _installed(sa)]
    if not lacking or newest.age_seconds < 1:
        return []
    if all(sa.age_seconds <= newest.age_seconds + TIE_SECONDS for sa in elsewhere):
        return []
    before = moves_to(memory, connection, newest.unique_id)
    if before.count >= MOST_MOVES or now_seconds < again_at(connection, before):
        return []
    return [Initiate(connection.name, child, newest.unique_id) for child in lacking]


def _remakes(
    connection: Connection, newest: IkeSa, memory: Memory, now_seconds: float
) -> list[Action] | None:
    """A new IKE_SA for a pair whose encapsulation is not what it should be; None if it is.

    A pair that is to be encapsulated because nothing comes in has nothing to lose by it: all its
    children are made from here, so that it works again at once, whoever the peer is.
    """
    watch = memory.esp.get(connection.name, EspWatch())
    lacks = connection.force_encapsulation and any(not c.encapsulated for c in newest.children)
    is_over = watch.phase is EspPhase.RETURNING and newest.is_nat_faked
    if not lacks and not is_over:
        return None
    if now_seconds < again_at(connection, moves_to(memory, connection, 0)):
        return []
    children = connection.children if lacks else _own(connection)
    return [Initiate(connection.name, child, 0) for child in children]


def retiring_key_is_idle(
    connections: tuple[Connection, ...],
    identity: Identity,
    observed: ObservedIke,
    memory: Memory,
    now_seconds: float,
) -> bool:
    """Whether charon still has the replaced key, and nothing stands on it any more."""
    if identity.retiring_key_id not in observed.key_ids:
        return False
    return not any(
        is_stale(sa, memory, now_seconds)
        for connection in connections
        for sa in observed.sas_of(connection)
    )


def _established(connection: Connection, observed: ObservedIke) -> list[IkeSa]:
    return [sa for sa in observed.sas_of(connection) if sa.is_established]


def _newest(established: list[IkeSa]) -> IkeSa:
    return min(established, key=lambda sa: (sa.age_seconds, -sa.unique_id))


def _own(connection: Connection) -> list[ChildName]:
    """The children that carry this node's own traffic."""
    return [child for child in connection.children if child.direction is Direction.OUT]


def _installed(sa: IkeSa) -> set[str]:
    return {child.name for child in sa.children if child.is_installed}


def moves_to(memory: Memory, connection: Connection, target: int) -> Moves:
    """How often children were moved to that IKE_SA so far."""
    before = memory.moves.get(connection.name)
    return before if before is not None and before.target == target else Moves(target)


def _due(connection: Connection, before: Moves, first: float) -> float:
    local, remote = connection.local_chassis, connection.remote_chassis
    first += first_attempt_seconds(local, remote)
    return max(first, again_at(connection, before))


def again_at(connection: Connection, before: Moves) -> float:
    """When the next attempt may be made."""
    if not before.count:
        return 0.0
    local, remote = connection.local_chassis, connection.remote_chassis
    return before.latest + 5.0 + backoff_seconds(local, remote, before.count)


def _stagger(connection: Connection, peers: int) -> float:
    seed = f"geneveil re-authentication {name_key(connection.local_chassis)} "
    seed += name_key(connection.remote_chassis)
    fraction = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:6]) / 2**48
    return STAGGER_FIRST_SECONDS + fraction * STAGGER_SECONDS_A_PEER * peers
