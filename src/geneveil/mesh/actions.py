"""What can be done, as plain values; the agent hands each to the adapter that can do it.

Every action may be repeated, and taking away what is not there succeeds.
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from geneveil.model.connection import ChildName, Connection, Identity
from geneveil.model.guard import GuardSpec
from geneveil.model.sentinel import SentinelSpec


@dataclass(frozen=True)
class ApplyGuard:
    """Make the guard stand."""

    spec: GuardSpec


@dataclass(frozen=True)
class ApplyBolt:
    """Hold the guard's rules once more, where nobody else can take them away."""

    spec: GuardSpec


@dataclass(frozen=True)
class ApplySentinel:
    """Count Geneve in clear on these interfaces."""

    spec: SentinelSpec


@dataclass(frozen=True)
class LoadIdentity:
    """Trust bundle, certificate and key into charon; before any connection that needs them."""

    identity: Identity


@dataclass(frozen=True)
class LoadCrl:
    """A CRL into charon."""

    crl_der: bytes = field(repr=False)
    fingerprint: str


@dataclass(frozen=True)
class ClearCredentials:
    """Everything that proves something out of charon, to be loaded anew at once; only for a charon
    that is ours alone."""


@dataclass(frozen=True)
class UnloadKey:
    """A private key out of charon: nothing uses it any more."""

    key_id: str


@dataclass(frozen=True)
class LoadConnection:
    """Add a connection to charon, or replace it; its SAs stay.

    `salt`: see `geneveil.mesh.diff`.
    """

    connection: Connection
    identity: Identity
    salt: int = 0


@dataclass(frozen=True)
class UnloadConnection:
    """Take one of our connections out of charon."""

    name: str


@dataclass(frozen=True)
class TerminateIkeSa:
    """Close one of our IKE_SAs with its children.

    `at_once`: without waiting for the peer. `repairs`: the pair is to come back at once.
    """

    unique_id: int
    connection: str
    why: str
    at_once: bool = False
    repairs: bool = False


@dataclass(frozen=True)
class TerminateChildSa:
    """Close one of our CHILD_SAs."""

    unique_id: int
    connection: str
    why: str


@dataclass(frozen=True)
class RekeyChildSa:
    """Replace one of our CHILD_SAs, on its IKE_SA, by one that this node sends through.

    `moving_to`: the unique id of that IKE_SA.
    """

    unique_id: int
    connection: str
    moving_to: int


@dataclass(frozen=True)
class DeleteState:
    """Take one state of ours, that charon does not know and nothing uses, out of the kernel."""

    destination: str
    spi: int
    protocol: int


@dataclass(frozen=True)
class Initiate:
    """Ask for a child, and for its IKE_SA where there is none.

    `moving_to`: None for a pair that is down. For one that is up, the unique id of the IKE_SA to
    which the child is to move, or 0 for one that is to be made.
    """

    connection: str
    child: ChildName
    moving_to: int | None = None


@dataclass(frozen=True)
class AskEcho:
    """Send the peer an echo in plain ESP, to learn whether it gets through."""

    connection: str
    local_ip: str
    remote_ip: str


CharonAction: TypeAlias = (
    LoadIdentity
    | LoadCrl
    | ClearCredentials
    | UnloadKey
    | LoadConnection
    | UnloadConnection
    | TerminateIkeSa
    | TerminateChildSa
    | RekeyChildSa
    | Initiate
)
"""What charon is asked to do."""

Action: TypeAlias = ApplyGuard | ApplyBolt | ApplySentinel | CharonAction | DeleteState | AskEcho
