"""One picture of everything that the agent decides from.

Each part is a value or the error that kept it from being read: never an empty value instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from geneveil.agent.config import AgentConfig
from geneveil.agent.disturbed import History
from geneveil.agent.rotation.files import read_situation
from geneveil.agent.rotation.renewal import Situation
from geneveil.agent.rotation.watch import WatchRecord, parse_record
from geneveil.agent.settings import parse_stored_settings
from geneveil.agent.store import (
    CERTIFICATE,
    CRLS,
    DROPPED,
    KEY,
    REPLACED_CERTIFICATE,
    REPLACED_KEY,
    SETTINGS,
    TRUST_BUNDLE,
    WATCH,
    NodeStore,
)
from geneveil.agent.trust import TrustFiles
from geneveil.especho.port import AddressPair, EspEcho
from geneveil.guard.bolt.port import Bolt
from geneveil.guard.port import Guard
from geneveil.guard.sentinel.port import Sentinel
from geneveil.ike.port import IkeDaemon
from geneveil.model.cluster import ClusterSettings
from geneveil.model.connection import ObservedIke
from geneveil.model.errors import GeneveilError, TrustError
from geneveil.model.guard import GuardSpec, ObservedGuard
from geneveil.model.health import Finding
from geneveil.model.sentinel import ObservedSentinel
from geneveil.model.tunnel import OvsSnapshot
from geneveil.model.xfrm import XfrmPolicy, XfrmState
from geneveil.ovs.port import TunnelSource
from geneveil.underlay.port import Addresses
from geneveil.xfrm.port import KernelIpsec

ValueT = TypeVar("ValueT")
_TRUST_FILES = (KEY, CERTIFICATE, TRUST_BUNDLE, REPLACED_KEY, REPLACED_CERTIFICATE, CRLS, DROPPED)


@dataclass(frozen=True)
class Ports:
    """The adapters of one node."""

    ovs: TunnelSource
    ike: IkeDaemon
    guard: Guard
    kernel: KernelIpsec
    store: NodeStore
    sentinel: Sentinel
    addresses: Addresses
    esp: EspEcho
    bolt: Bolt
    guard_history: Callable[[], History] = History


@dataclass(frozen=True)
class Failures:
    """What the latest attempts to hear from the operator ended in, if they failed."""

    renewal: GeneveilError | None = None
    watch: GeneveilError | None = None


@dataclass(frozen=True)
class Observation:
    """One turn's picture.

    Attributes:
        now: aware UTC, for people and certificates.
        now_seconds: of a clock that only goes forward, for waiting.
        settings: None until the node has enrolled.
        enrolment: what the latest attempt to enrol said, if it failed.
        record: what the operator said last.
        situation: how far a new certificate has come.
        guard_history: who touched the guard.
        addresses: each local address to the name of its interface.
        mtus: each interface that holds an address to its MTU in bytes.
        echoes: the pairs whose peer answered in plain ESP since the turn before.
    """

    config: AgentConfig
    now: datetime
    now_seconds: float
    ovs: OvsSnapshot | GeneveilError
    ike: ObservedIke | GeneveilError
    guard: ObservedGuard | GeneveilError
    states: tuple[XfrmState, ...] | GeneveilError
    policies: tuple[XfrmPolicy, ...] | GeneveilError
    trust_files: TrustFiles
    settings: ClusterSettings | GeneveilError | None
    enrolment: Finding | None
    record: WatchRecord | GeneveilError = field(default_factory=WatchRecord)
    situation: Situation = field(default_factory=Situation)
    failures: Failures = field(default_factory=Failures)
    guard_history: History = field(default_factory=History)
    sentinel: ObservedSentinel | GeneveilError = field(
        default_factory=lambda: ObservedSentinel(None, {})
    )
    addresses: Mapping[str, str] | GeneveilError = field(default_factory=dict)
    mtus: Mapping[str, int] | GeneveilError = field(default_factory=dict)
    echoes: frozenset[AddressPair] | GeneveilError = frozenset()
    bolt: GuardSpec | None = None


def observe(
    config: AgentConfig,
    ports: Ports,
    now: datetime,
    now_seconds: float,
    enrolment: Finding | None,
    failures: Failures,
) -> Observation:
    """Read everything once."""
    addresses = _attempt(ports.addresses.read)
    return Observation(
        config=config,
        now=now,
        now_seconds=now_seconds,
        ovs=_attempt(ports.ovs.read),
        ike=_attempt(ports.ike.read),
        # Right after charon, which they are compared with.
        states=_attempt(ports.kernel.read_states),
        policies=_attempt(ports.kernel.read_policies),
        guard=_attempt(ports.guard.read),
        trust_files=read_trust_files(ports.store),
        settings=_attempt(lambda: read_settings(ports.store)),
        enrolment=enrolment,
        record=_attempt(lambda: parse_record(ports.store.read(WATCH))),
        situation=_read_situation(ports.store),
        failures=failures,
        sentinel=_attempt(ports.sentinel.read),
        addresses=addresses,
        mtus=_read_mtus(ports.addresses, addresses),
        guard_history=ports.guard_history(),  # after the guard was read: that may add to it
        echoes=_attempt(ports.esp.read),
        bolt=ports.bolt.held,
    )


def _read_mtus(
    source: Addresses, addresses: Mapping[str, str] | GeneveilError
) -> Mapping[str, int] | GeneveilError:
    if isinstance(addresses, GeneveilError):
        return addresses
    return _attempt(lambda: source.read_mtus(set(addresses.values())))


def _read_situation(store: NodeStore) -> Situation:
    try:
        return read_situation(store)
    except TrustError:
        return Situation()  # the same directory holds the certificate, whose reading complains


def read_trust_files(store: NodeStore) -> TrustFiles:
    """Key, certificate and bundle as bytes; the first that cannot be read is kept as an error."""
    problem: TrustError | None = None
    contents: dict[str, bytes | None] = {}
    for name in _TRUST_FILES:
        contents[name], error = store.try_read(name)
        problem = problem or error
    return TrustFiles(
        key=contents[KEY],
        certificate=contents[CERTIFICATE],
        bundle=contents[TRUST_BUNDLE],
        problem=problem,
        replaced_key=contents[REPLACED_KEY],
        replaced_certificate=contents[REPLACED_CERTIFICATE],
        crls=contents[CRLS],
        dropped=contents[DROPPED],
    )


def read_settings(store: NodeStore) -> ClusterSettings | None:
    """The cluster's settings, or None before the node enrolled."""
    data = store.read(SETTINGS)
    return None if data is None else parse_stored_settings(data, str(store.directory / SETTINGS))


def _attempt(read: Callable[[], ValueT]) -> ValueT | GeneveilError:
    try:
        return read()
    except GeneveilError as error:
        return error
