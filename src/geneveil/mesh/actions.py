"""What can be done, as plain values; the agent hands each to the adapter that can do it.

Every action may be repeated, and taking away what is not there succeeds.
"""

from dataclasses import dataclass
from typing import TypeAlias

from geneveil.model.connection import ChildName, Connection, Identity
from geneveil.model.guard import GuardSpec


@dataclass(frozen=True)
class ApplyGuard:
    """Make the guard stand."""

    spec: GuardSpec


@dataclass(frozen=True)
class LoadIdentity:
    """Trust bundle, certificate and key into charon; before any connection that needs them."""

    identity: Identity


@dataclass(frozen=True)
class LoadConnection:
    """Add a connection to charon, or replace it; its SAs stay."""

    connection: Connection
    identity: Identity


@dataclass(frozen=True)
class UnloadConnection:
    """Take one of our connections out of charon."""

    name: str


@dataclass(frozen=True)
class TerminateIkeSa:
    """Close one of our IKE_SAs with its children."""

    unique_id: int
    connection: str
    why: str


@dataclass(frozen=True)
class TerminateChildSa:
    """Close one of our CHILD_SAs."""

    unique_id: int
    connection: str
    why: str


@dataclass(frozen=True)
class Initiate:
    """Ask for a child, and for its IKE_SA where there is none."""

    connection: str
    child: ChildName


Action: TypeAlias = (
    ApplyGuard
    | LoadIdentity
    | LoadConnection
    | UnloadConnection
    | TerminateIkeSa
    | TerminateChildSa
    | Initiate
)
