"""One picture of everything that the agent decides from.

Each part is a value or the error that kept it from being read: never an empty value instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from geneveil.agent.config import AgentConfig
from geneveil.agent.settings import parse_stored_settings
from geneveil.agent.store import (
    CERTIFICATE,
    KEY,
    SETTINGS,
    TRUST_BUNDLE,
    NodeStore,
)
from geneveil.agent.trust import TrustFiles
from geneveil.guard.port import Guard
from geneveil.ike.port import IkeDaemon
from geneveil.model.cluster import ClusterSettings
from geneveil.model.connection import ObservedIke
from geneveil.model.errors import GeneveilError, TrustError
from geneveil.model.guard import ObservedGuard
from geneveil.model.health import Finding
from geneveil.model.tunnel import OvsSnapshot
from geneveil.model.xfrm import XfrmState
from geneveil.ovs.port import TunnelSource
from geneveil.xfrm.port import KernelIpsec

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class Ports:
    """The adapters of one node."""

    ovs: TunnelSource
    ike: IkeDaemon
    guard: Guard
    kernel: KernelIpsec
    store: NodeStore


@dataclass(frozen=True)
class Observation:
    """One turn's picture.

    Attributes:
        now: aware UTC, for people and certificates.
        now_seconds: of a clock that only goes forward, for waiting.
        settings: None until the node has enrolled.
        enrolment: what the latest attempt to enrol said, if it failed.
    """

    config: AgentConfig
    now: datetime
    now_seconds: float
    ovs: OvsSnapshot | GeneveilError
    ike: ObservedIke | GeneveilError
    guard: ObservedGuard | GeneveilError
    states: tuple[XfrmState, ...] | GeneveilError
    trust_files: TrustFiles
    settings: ClusterSettings | GeneveilError | None
    enrolment: Finding | None


def observe(
    config: AgentConfig,
    ports: Ports,
    now: datetime,
    now_seconds: float,
    enrolment: Finding | None,
) -> Observation:
    """Read everything once."""
    return Observation(
        config=config,
        now=now,
        now_seconds=now_seconds,
        ovs=_attempt(ports.ovs.read),
        ike=_attempt(ports.ike.read),
        guard=_attempt(ports.guard.read),
        states=_attempt(ports.kernel.read_states),
        trust_files=read_trust_files(ports.store),
        settings=_attempt(lambda: read_settings(ports.store)),
        enrolment=enrolment,
    )


def read_trust_files(store: NodeStore) -> TrustFiles:
    """Key, certificate and bundle as bytes; the first that cannot be read is kept as an error."""
    problem: TrustError | None = None
    contents: list[bytes | None] = []
    for name in (KEY, CERTIFICATE, TRUST_BUNDLE):
        content, error = store.try_read(name)
        contents.append(content)
        problem = problem or error
    return TrustFiles(contents[0], contents[1], contents[2], problem)


def read_settings(store: NodeStore) -> ClusterSettings | None:
    """The cluster's settings, or None before the node enrolled."""
    data = store.read(SETTINGS)
    return None if data is None else parse_stored_settings(data, str(store.directory / SETTINGS))


def _attempt(read: Callable[[], ValueT]) -> ValueT | GeneveilError:
    try:
        return read()
    except GeneveilError as error:
        return error
