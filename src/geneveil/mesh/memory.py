"""What the agent has to remember from turn to turn, beyond what can be read back.

All of it may be lost: an agent that starts anew loads everything once more, which changes nothing
in charon, and counts its attempts from zero.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from types import MappingProxyType
from typing import TypeVar

from geneveil.mesh.actions import (
    Action,
    AskEcho,
    ClearCredentials,
    Initiate,
    LoadConnection,
    LoadIdentity,
    RekeyChildSa,
    TerminateIkeSa,
    UnloadConnection,
)
from geneveil.mesh.encapsulation import EspWatch
from geneveil.model.connection import Connection, Identity

ValueT = TypeVar("ValueT")

QUIET_SECONDS = 60.0
"""A pair that stood this long after a repair is repaired at once the next time."""

_EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Attempts:
    """One pair that is down. Times are seconds of a clock that only goes forward.

    `at_once`: this node took it down, to repair it, and so is the first that knows.
    """

    down_since: float
    count: int = 0
    latest: float = 0.0
    at_once: bool = False


@dataclass(frozen=True)
class Repairs:
    """How often this node closed a pair because the kernel lacked it, in one go."""

    count: int
    latest: float


@dataclass(frozen=True)
class Moves:
    """How often this node tried to move its children to one IKE_SA; see `Initiate.moving_to`."""

    target: int
    count: int = 0
    latest: float = 0.0


@dataclass(frozen=True)
class Loaded:
    """With which identity a connection is loaded, and since when."""

    identity: str
    at_seconds: float


@dataclass(frozen=True)
class Memory:
    """What was loaded into which charon, and how often each pair was tried.

    Attributes:
        instance: the charon that the rest is about; see `ObservedIke.instance`.
        identity: digest of the identity that was loaded, or empty.
        key_id: the id that charon gave to its key.
        loaded: connection name to the digest of what was loaded under it.
        attempts: connection name to its attempts, for pairs that are down.
        salts: connection name to the salt that it was loaded with.
        since: connection name to the identity it was loaded with, and since when; survives the
            loss of a session, since the same charon may be at its other end.
        moves: connection name to the latest attempts to move children.
        repairs: connection name to the latest repairs.
        stale: connection name to the unique ids of IKE_SAs that an earlier identity made, and of
            their children; see `geneveil.mesh.reauthentication.track_stale`.
        anew_seconds: when this agent last met another charon than before, or lost sight of it.
        esp: connection name to whether ESP gets through.
    """

    instance: int = -1
    identity: str = ""
    key_id: str = ""
    loaded: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    attempts: Mapping[str, Attempts] = field(default_factory=dict)
    salts: Mapping[str, int] = field(default_factory=dict)
    since: Mapping[str, Loaded] = field(default_factory=dict)
    moves: Mapping[str, Moves] = field(default_factory=dict)
    repairs: Mapping[str, Repairs] = field(default_factory=dict)
    stale: Mapping[str, frozenset[int]] = field(default_factory=dict)
    anew_seconds: float = -math.inf
    esp: Mapping[str, EspWatch] = field(default_factory=dict)


def for_instance(memory: Memory, instance: int, now_seconds: float = -math.inf) -> Memory:
    """Forget what was loaded when this may be another charon."""
    if memory.instance == instance:
        return memory
    is_first = memory.instance == Memory.instance
    return replace(
        memory,
        instance=instance,
        identity="",
        key_id="",
        loaded={},
        moves={},  # to IKE_SAs that this charon numbers anew
        anew_seconds=memory.anew_seconds if is_first else now_seconds,
    )


def for_pairs(memory: Memory, names: frozenset[str]) -> Memory:
    """Forget every pair but these: nodes come and go for years.

    Args:
        names: of connections that are planned, or of which charon still has something.
    """
    known = (*memory.salts, *memory.since, *memory.moves, *memory.repairs)
    if names.issuperset(known):
        return memory
    return replace(
        memory,
        salts=_of(memory.salts, names),
        since=_of(memory.since, names),
        moves=_of(memory.moves, names),
        repairs=_of(memory.repairs, names),
    )


def _of(known: Mapping[str, ValueT], names: frozenset[str]) -> dict[str, ValueT]:
    return {name: value for name, value in known.items() if name in names}


def record(memory: Memory, action: Action, answer: str, now_seconds: float) -> Memory:
    """Remember one action that succeeded; `answer` is the key's id for LoadIdentity."""
    match action:
        case LoadIdentity(identity):
            return replace(memory, identity=identity_digest(identity), key_id=answer, loaded={})
        case ClearCredentials():
            return replace(memory, identity="", key_id="")
        case LoadConnection():
            return _record_load(memory, action, now_seconds)
        case UnloadConnection(name):
            rest = {key: value for key, value in memory.loaded.items() if key != name}
            return replace(memory, loaded=rest)
        case TerminateIkeSa(connection=name, repairs=True):
            return _record_repair(memory, name, now_seconds)
        case Initiate(name, _, None):
            return _record_attempt(memory, name, now_seconds)
        case Initiate(name, _, int(target)):
            return _record_move(memory, name, target, now_seconds)
        case RekeyChildSa(_, name, target):
            return _record_move(memory, name, target, now_seconds)
        case AskEcho(name) if name in memory.esp:
            asked = replace(memory.esp[name], asked_at=now_seconds)
            return replace(memory, esp={**memory.esp, name: asked})
        case _:
            return memory


def identity_digest(identity: Identity) -> str:
    """Differs whenever anything about the identity does."""
    digest = sha256(identity.certificate_der)
    for authority in identity.trust_bundle_der:
        digest.update(sha256(authority).digest())
    return digest.hexdigest()


def connection_digest(connection: Connection, identity: Identity, salt: int = 0) -> str:
    """Differs whenever charon would have to be told something else."""
    return sha256(f"{connection!r} {identity_digest(identity)} {salt}".encode()).hexdigest()


def _record_load(memory: Memory, load: LoadConnection, now_seconds: float) -> Memory:
    name, digest = load.connection.name, identity_digest(load.identity)
    before = memory.since.get(name)
    if before is None or before.identity != digest:
        before = Loaded(digest, now_seconds)
    whole = connection_digest(load.connection, load.identity, load.salt)
    return replace(
        memory,
        loaded={**memory.loaded, name: whole},
        salts={**memory.salts, name: load.salt},
        since={**memory.since, name: before},
    )


def _record_move(memory: Memory, name: str, target: int, now_seconds: float) -> Memory:
    before = memory.moves.get(name, Moves(target))
    if before.count and before.latest == now_seconds:
        return memory  # the other child of the same attempt
    count = before.count if before.target == target else 0
    return replace(memory, moves={**memory.moves, name: Moves(target, count + 1, now_seconds)})


def _record_repair(memory: Memory, name: str, now_seconds: float) -> Memory:
    before = memory.repairs.get(name, Repairs(0, now_seconds))
    if before.count and before.latest == now_seconds:
        return memory  # another IKE_SA of the same repair
    count = before.count if now_seconds - before.latest < QUIET_SECONDS else 0
    return replace(memory, repairs={**memory.repairs, name: Repairs(count + 1, now_seconds)})


def _record_attempt(memory: Memory, name: str, now_seconds: float) -> Memory:
    # One that is not down yet is being repaired.
    before = memory.attempts.get(name, Attempts(down_since=now_seconds, at_once=True))
    if before.count and before.latest == now_seconds:
        return memory  # the other child of the same attempt
    after = replace(before, count=before.count + 1, latest=now_seconds)
    return replace(memory, attempts={**memory.attempts, name: after})
