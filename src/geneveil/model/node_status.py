"""What a node says about itself: one value, and its JSON.

The agent writes it to `status.json` in its run directory at every turn, at most
`STALE_AFTER_SECONDS` apart; `geneveil status` and the lab read it. Fields may be added; a change
of meaning changes `SCHEMA`. Times are ISO 8601 in UTC; SPIs are hexadecimal texts in JSON.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from geneveil.model.guard import GuardCounter, Tally
from geneveil.model.health import Finding, HealthValue, Severity
from geneveil.model.sentinel import SentinelCounter
from geneveil.model.trust_status import TrustStatus, parse_trust, trust_document

SCHEMA = "geneveil.io/node-status/v1"
LOCK_FILE = "agent.lock"
"""In the run directory, for root alone; held for as long as the agent lives."""

STALE_AFTER_SECONDS = 15
"""Three turns at the slowest; an older file speaks of an agent that is gone or stuck."""


class PeerState(Enum):
    """What is true of a pair now."""

    UP = "up"
    """Both children stand, in charon and in the kernel, with the cipher that is promised."""
    CONNECTING = "connecting"
    """An exchange is under way; Geneve waits, dropped by the guard."""
    DOWN = "down"
    """No exchange is under way; the next attempt waits for its time."""
    UNKNOWN = "unknown"
    """charon cannot be asked, or has lost its memory; SAs that stand in the kernel go on
    carrying."""
    UNPROVEN = "unproven"
    """Children stand, but not with the cipher, mode or kernel state that is promised."""


@dataclass(frozen=True)
class PeerStatus:
    """One pair.

    Attributes:
        since: when `state` began.
        initiator: whether this node is the one that initiates.
        cipher: such as `AES-GCM-16-256/ESN`, from the kernel; empty while there is none.
        spi_out: of the SA that carries Geneve from here: outbound of the `out` child.
        spi_in: of the SA that carries it to here: inbound of the `in` child.
        encapsulated: ESP rides in UDP 4500.
        next_rekey: of whichever child is first.
        fallback_since: when this node found that plain ESP does not get through, and began to
            encapsulate because of that; None if it has not, or no more.
    """

    chassis: str
    local_ip: str
    remote_ip: str
    state: PeerState
    since: datetime
    initiator: bool
    cipher: str = ""
    mode: str = ""
    encapsulated: bool = False
    spi_out: int = 0
    spi_in: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    next_rekey: datetime | None = None
    fallback_since: datetime | None = None


@dataclass(frozen=True)
class CertificateStatus:
    """This node's own certificate."""

    chassis: str
    serial: str
    fingerprint: str
    issuer: str
    not_before: datetime
    not_after: datetime
    renew_at: datetime


@dataclass(frozen=True)
class GuardStatus:
    """The guard as it was read; `in_place` only if it stands unaltered for all ports.

    Attributes:
        disturbances: how often somebody touched it in this agent's life; the latest when.
        is_bolted: its rules stand once more where nobody but the agent can take them away.
    """

    in_place: bool
    ports: tuple[int, ...]
    counters: Mapping[GuardCounter, Tally]
    disturbances: int = 0
    disturbed_at: datetime | None = None
    is_bolted: bool = False


@dataclass(frozen=True)
class SentinelStatus:
    """The leak sentinel as it was read; no devices while it does not stand."""

    devices: tuple[str, ...]
    counters: Mapping[SentinelCounter, Tally]


@dataclass(frozen=True)
class NodeStatus:
    """All that a node says about itself.

    Attributes:
        start_ticks: when the process `pid` started, in clock ticks since boot; 0 if not known.
        mode: Disabled or Full, as it is in force.
        charon: its version, or empty while it is away.
        tunnels: how many tunnels Open vSwitch has, or None while its database is away.
        health: worst first.
    """

    written_at: datetime
    version: str
    pid: int
    chassis: str
    mode: str
    charon: str
    tunnels: int | None
    peers: tuple[PeerStatus, ...]
    certificate: CertificateStatus | None
    guard: GuardStatus | None
    health: tuple[HealthValue, ...]
    trust: TrustStatus | None = None
    sentinel: SentinelStatus | None = None
    start_ticks: int = 0

    @property
    def is_well(self) -> bool:
        """Nothing is wrong, and every pair is up. With IPsec off there is nothing to be wrong."""
        return not any(v.finding.severity is not Severity.INFO for v in self.health)

    def staleness(self, now: datetime, *, agent_lives: bool) -> str:
        """Why this should not be taken for the present; empty if it may be.

        A clock that was set back makes a file of the future: that is no reason to trust it.
        """
        if not agent_lives:
            since = self.written_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
            return (
                f"the agent is not running since about {since}; "
                "what stands in the kernel stays in place"
            )
        age_seconds = int((now - self.written_at).total_seconds())
        if -STALE_AFTER_SECONDS <= age_seconds <= STALE_AFTER_SECONDS:
            return ""
        when = f"{age_seconds} s ago" if age_seconds > 0 else f"{-age_seconds} s ahead of the clock"
        return f"the agent is stuck: it wrote its status {when}"

    @property
    def summary(self) -> str:
        """One line that says whether all is well."""
        if self.mode == "Disabled":
            return "IPsec is off (mode: Disabled); nothing is encrypted or guarded"
        up = sum(peer.state is PeerState.UP for peer in self.peers)
        pairs = f"{up} of {len(self.peers)} peers encrypted"
        if self.is_well:
            return f"all is well: {pairs}"
        errors = sum(v.finding.severity is Severity.ERROR for v in self.health)
        word = "Degraded" if errors else "attention"
        return f"{word}: {pairs}; {len(self.health)} findings, {errors} of them errors"


def status_document(status: NodeStatus) -> dict[str, Any]:
    """The status as a JSON document."""
    return {
        "schema": SCHEMA,
        "writtenAt": _time(status.written_at),
        "version": status.version,
        "pid": status.pid,
        "startTicks": status.start_ticks,
        "chassis": status.chassis,
        "mode": status.mode,
        "well": status.is_well,
        "summary": status.summary,
        "charon": status.charon,
        "tunnels": status.tunnels,
        "peers": [_peer_document(peer) for peer in status.peers],
        "certificate": _certificate_document(status.certificate) if status.certificate else None,
        "guard": _guard_document(status.guard) if status.guard else None,
        "sentinel": _sentinel_document(status.sentinel) if status.sentinel else None,
        "health": [_health_document(value) for value in status.health],
        "trust": trust_document(status.trust) if status.trust else None,
    }


def parse_status(document: Mapping[str, Any]) -> NodeStatus:
    """What `status_document` made.

    Raises:
        ValueError: it is something else.
    """
    try:
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema is {document['schema']!r}, not {SCHEMA!r}")
        certificate, guard = document["certificate"], document["guard"]
        sentinel = document.get("sentinel")
        trust = document.get("trust")
        return NodeStatus(
            written_at=_parse_time(document["writtenAt"]),
            version=str(document["version"]),
            pid=int(document["pid"]),
            chassis=str(document["chassis"]),
            mode=str(document["mode"]),
            charon=str(document["charon"]),
            tunnels=document["tunnels"],
            peers=tuple(_parse_peer(peer) for peer in document["peers"]),
            certificate=_parse_certificate(certificate) if certificate else None,
            guard=_parse_guard(guard) if guard else None,
            health=tuple(_parse_health(value) for value in document["health"]),
            trust=parse_trust(trust) if trust else None,
            sentinel=_parse_sentinel(sentinel) if sentinel else None,
            start_ticks=int(document.get("startTicks", 0)),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a node's status: {error!r}") from None


def _peer_document(peer: PeerStatus) -> dict[str, Any]:
    return {
        "chassis": peer.chassis,
        "localIp": peer.local_ip,
        "remoteIp": peer.remote_ip,
        "state": peer.state.value,
        "since": _time(peer.since),
        "initiator": peer.initiator,
        "cipher": peer.cipher,
        "mode": peer.mode,
        "encapsulated": peer.encapsulated,
        "spiOut": _spi(peer.spi_out),
        "spiIn": _spi(peer.spi_in),
        "bytesOut": peer.bytes_out,
        "bytesIn": peer.bytes_in,
        "nextRekey": _time(peer.next_rekey) if peer.next_rekey else None,
        "fallbackSince": _time(peer.fallback_since) if peer.fallback_since else None,
    }


def _parse_peer(document: Mapping[str, Any]) -> PeerStatus:
    fallback = document.get("fallbackSince")
    return PeerStatus(
        chassis=document["chassis"],
        local_ip=document["localIp"],
        remote_ip=document["remoteIp"],
        state=PeerState(document["state"]),
        since=_parse_time(document["since"]),
        initiator=bool(document["initiator"]),
        cipher=document["cipher"],
        mode=document["mode"],
        encapsulated=bool(document["encapsulated"]),
        spi_out=int(document["spiOut"] or "0", 16),
        spi_in=int(document["spiIn"] or "0", 16),
        bytes_out=int(document["bytesOut"]),
        bytes_in=int(document["bytesIn"]),
        next_rekey=_parse_time(document["nextRekey"]) if document["nextRekey"] else None,
        fallback_since=_parse_time(fallback) if fallback else None,
    )


def _certificate_document(certificate: CertificateStatus) -> dict[str, Any]:
    return {
        "chassis": certificate.chassis,
        "serial": certificate.serial,
        "fingerprint": certificate.fingerprint,
        "issuer": certificate.issuer,
        "notBefore": _time(certificate.not_before),
        "notAfter": _time(certificate.not_after),
        "renewAt": _time(certificate.renew_at),
    }


def _parse_certificate(document: Mapping[str, Any]) -> CertificateStatus:
    return CertificateStatus(
        chassis=document["chassis"],
        serial=document["serial"],
        fingerprint=document["fingerprint"],
        issuer=document["issuer"],
        not_before=_parse_time(document["notBefore"]),
        not_after=_parse_time(document["notAfter"]),
        renew_at=_parse_time(document["renewAt"]),
    )


def _guard_document(guard: GuardStatus) -> dict[str, Any]:
    return {
        "inPlace": guard.in_place,
        "ports": list(guard.ports),
        "counters": _tallies(guard.counters),
        "disturbances": guard.disturbances,
        "disturbedAt": _time(guard.disturbed_at) if guard.disturbed_at else None,
        "isBolted": guard.is_bolted,
    }


def _sentinel_document(sentinel: SentinelStatus) -> dict[str, Any]:
    return {"devices": list(sentinel.devices), "counters": _tallies(sentinel.counters)}


def _parse_sentinel(document: Mapping[str, Any]) -> SentinelStatus:
    counters = {
        SentinelCounter(name): Tally(int(body["packets"]), int(body["bytes"]))
        for name, body in document["counters"].items()
    }
    return SentinelStatus(tuple(document["devices"]), counters)


def _tallies(counters: Mapping[Any, Tally]) -> dict[str, Any]:
    return {
        counter.value: {"packets": tally.packets, "bytes": tally.bytes}
        for counter, tally in counters.items()
    }


def _parse_guard(document: Mapping[str, Any]) -> GuardStatus:
    counters = {
        GuardCounter(name): Tally(int(body["packets"]), int(body["bytes"]))
        for name, body in document["counters"].items()
    }
    disturbed_at = document.get("disturbedAt")
    return GuardStatus(
        bool(document["inPlace"]),
        tuple(document["ports"]),
        counters,
        int(document.get("disturbances", 0)),
        _parse_time(disturbed_at) if disturbed_at else None,
        bool(document.get("isBolted", False)),
    )


def _health_document(value: HealthValue) -> dict[str, Any]:
    finding = value.finding
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "subject": finding.subject,
        "since": _time(value.since),
        "what": finding.what,
        "remedy": finding.remedy,
    }


def _parse_health(document: Mapping[str, Any]) -> HealthValue:
    finding = Finding(
        code=document["code"],
        severity=Severity(document["severity"]),
        subject=document["subject"],
        what=document["what"],
        remedy=document["remedy"],
    )
    return HealthValue(finding, _parse_time(document["since"]))


def _spi(spi: int) -> str:
    return f"{spi:08x}" if spi else ""


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)
