"""The state of each pair, from what charon and the kernel say. Pure.

A pair is up only if what is promised can be seen: both children installed in charon, and for the
two SAs that carry Geneve a state in the kernel with AES-GCM, a 256-bit key, an ICV of 16 bytes,
ESN and transport mode.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from geneveil.mesh.diff import missing_children
from geneveil.mesh.initiation import is_initiator
from geneveil.model.connection import ChildSa, Connection, Direction, IkeSa
from geneveil.model.health import Finding, Severity
from geneveil.model.node_status import PeerState, PeerStatus
from geneveil.model.xfrm import XfrmMode, XfrmState

AES_GCM_NAME = "rfc4106(gcm(aes))"
AES_256_KEY_BITS = 256 + 32
"""Key and salt: RFC 4106 §8.1."""

ICV_BITS = 128
CIPHER_WORD = "AES-GCM-16-256/ESN"


@dataclass(frozen=True)
class Beginning:
    """A pair's state and when it began."""

    state: PeerState
    since: datetime


def judge_peer(
    connection: Connection,
    sas: tuple[IkeSa, ...] | None,
    states: tuple[XfrmState, ...] | None,
    before: Beginning | None,
    now: datetime,
) -> tuple[PeerStatus, Finding | None]:
    """Decide a pair's state, and what is wrong with it.

    Args:
        sas: charon's, or None if they could not be read.
        states: the kernel's, or None likewise.
        before: what was decided the turn before.
    Fails closed: yes; an SA that cannot be found in the kernel proves nothing.
    """
    own = [sa for sa in sas or () if sa.connection == connection.name]
    outbound = _latest_child(own, connection, Direction.OUT)
    inbound = _latest_child(own, connection, Direction.IN)
    complaints: list[str] = []
    if sas is None:
        state = PeerState.UNKNOWN
    elif missing_children(connection, own):
        state = PeerState.CONNECTING if _is_under_way(own) else PeerState.DOWN
    else:
        complaints = _complaints(connection, outbound, inbound, states)
        state = PeerState.UNPROVEN if complaints else PeerState.UP
    since = _since(state, before, own, now)
    status = _status(connection, state, since, outbound, inbound, not complaints, now)
    return status, _finding(connection, state, complaints)


def unproven_reason(state: XfrmState) -> str:
    """Why this SA is not what is promised; empty if it is."""
    aead = state.aead
    if aead is None or aead.name != AES_GCM_NAME:
        found = aead or state.encryption
        return f"its cipher is {found.name if found else 'none'}, not {AES_GCM_NAME}"
    if aead.key_bits != AES_256_KEY_BITS:
        return f"its key has {aead.key_bits - 32} bits, not 256"
    if aead.icv_bits != ICV_BITS:
        return f"its ICV has {aead.icv_bits // 8} bytes, not 16"
    if state.mode is not XfrmMode.TRANSPORT:
        return f"its mode is {state.mode.name.lower()}, not transport"
    if not state.esn:
        return "it has no extended sequence numbers"
    return ""


def _since(state: PeerState, before: Beginning | None, sas: list[IkeSa], now: datetime) -> datetime:
    if before is not None:
        return before.since if before.state is state else now
    # The agent has just started: the SAs may be older than it is.
    ages = [sa.established_seconds or 0 for sa in sas if sa.is_established]
    return now - timedelta(seconds=max(ages)) if state is PeerState.UP and ages else now


def _latest_child(sas: list[IkeSa], connection: Connection, direction: Direction) -> ChildSa | None:
    """The newest installed child of a direction: the kernel sends through the newest SA."""
    names = {str(child) for child in connection.children if child.direction is direction}
    children = [
        child for sa in sas for child in sa.children if child.name in names and child.is_installed
    ]
    return min(children, key=lambda c: (c.installed_seconds, -c.unique_id), default=None)


def _is_under_way(sas: list[IkeSa]) -> bool:
    return any(sa.is_starting or sa.is_busy for sa in sas)


def _complaints(
    connection: Connection,
    outbound: ChildSa | None,
    inbound: ChildSa | None,
    states: tuple[XfrmState, ...] | None,
) -> list[str]:
    if states is None:
        return ["the kernel's SAs could not be read"]
    by_key = {(state.destination, state.spi): state for state in states}
    carrying = [
        ("outbound", connection.remote_ip, outbound.spi_out if outbound else 0),
        ("inbound", connection.local_ip, inbound.spi_in if inbound else 0),
    ]
    complaints = []
    for word, destination, spi in carrying:
        state = by_key.get((destination, spi))
        reason = unproven_reason(state) if state else "it is not in the kernel"
        if reason:
            complaints.append(f"{word} SA {spi:08x}: {reason}")
    return complaints


def _status(
    connection: Connection,
    state: PeerState,
    since: datetime,
    outbound: ChildSa | None,
    inbound: ChildSa | None,
    is_proven: bool,
    now: datetime,
) -> PeerStatus:
    children = [child for child in (outbound, inbound) if child is not None]
    rekeys = [child.rekey_seconds for child in children if child.rekey_seconds is not None]
    first = children[0] if children else None
    reported = f"{first.cipher}-{first.key_bits}" if first else ""
    return PeerStatus(
        chassis=connection.remote_chassis,
        local_ip=connection.local_ip,
        remote_ip=connection.remote_ip,
        state=state,
        since=since,
        initiator=is_initiator(connection.local_chassis, connection.remote_chassis),
        cipher=CIPHER_WORD if state is PeerState.UP and is_proven else reported,
        mode=first.mode.lower() if first else "",
        encapsulated=any(child.encapsulated for child in children),
        spi_out=outbound.spi_out if outbound else 0,
        spi_in=inbound.spi_in if inbound else 0,
        bytes_out=outbound.bytes_out if outbound else 0,
        bytes_in=inbound.bytes_in if inbound else 0,
        next_rekey=now + timedelta(seconds=min(rekeys)) if rekeys else None,
    )


def _finding(connection: Connection, state: PeerState, complaints: list[str]) -> Finding | None:
    subject = f"peer {connection.remote_chassis} at {connection.remote_ip}"
    if state is PeerState.UNPROVEN:
        return Finding(
            "peer-unproven",
            Severity.ERROR,
            subject,
            "; ".join(complaints),
            "if it lasts, look at charon's log and `ip xfrm state` on both nodes",
        )
    if state in (PeerState.UP, PeerState.UNKNOWN):
        return None  # that charon is away is a finding of its own, once for all peers
    return Finding(
        "peer-down",
        Severity.ERROR,
        subject,
        f"it is {state.value}; without an SA Geneve to and from it is dropped",
        "is its agent enrolled and running, and do UDP 500, UDP 4500 and ESP get through?",
    )
