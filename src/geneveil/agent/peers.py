"""The state of each pair, from what charon and the kernel say. Pure.

A pair is up only if what is promised can be seen: both children installed in charon, and for the
two SAs that carry Geneve a state in the kernel with AES-GCM, a 256-bit key, an ICV of 16 bytes,
ESN and transport mode, and the policies that lead Geneve to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from geneveil.agent.policies import missing_policies, policies_by_ends
from geneveil.mesh.initiation import is_initiator
from geneveil.mesh.reauthentication import missing_children
from geneveil.model.connection import ChildSa, Connection, Direction, IkeSa
from geneveil.model.health import Finding, Severity
from geneveil.model.node_status import PeerState, PeerStatus
from geneveil.model.xfrm import XfrmMode, XfrmPolicy, XfrmState

AES_GCM_NAME = "rfc4106(gcm(aes))"
AES_256_KEY_BITS = 256 + 32
"""Key and salt: RFC 4106 §8.1."""

ICV_BITS = 128
CIPHER_WORD = "AES-GCM-16-256/ESN"


@dataclass(frozen=True)
class Beginning:
    """A pair's state and when it began.

    Attributes:
        is_doubted: of a pair that was up, something was not found in the kernel, for the first
            time. charon and the kernel are read one after the other, and an SA may be replaced in
            between: only what is missing twice is missing.
        is_missing: the kernel lacked a state or a policy of the pair's installed children.
        must_repair: it did so the turn before as well: charon does not know, and will not notice.
    """

    state: PeerState
    since: datetime
    is_doubted: bool = False
    is_missing: bool = False
    must_repair: bool = False


@dataclass(frozen=True)
class KernelView:
    """States and policies; None for what could not be read."""

    states: tuple[XfrmState, ...] | None
    policies: tuple[XfrmPolicy, ...] | None

    @cached_property
    def states_by_key(self) -> Mapping[tuple[str, int], XfrmState]:
        """The states by destination and SPI."""
        return {(state.destination, state.spi): state for state in self.states or ()}

    def policies_of(self, connection: Connection) -> tuple[XfrmPolicy, ...]:
        """The policies between a pair's addresses."""
        ends = (connection.local_ip, connection.remote_ip)
        ways = (ends, ends[::-1])
        return tuple(policy for way in ways for policy in self._policies_by_ends.get(way, ()))

    @cached_property
    def _policies_by_ends(self) -> Mapping[tuple[str, str], tuple[XfrmPolicy, ...]]:
        return policies_by_ends(self.policies or ())


def judge_peer(
    connection: Connection,
    sas: tuple[IkeSa, ...] | None,
    kernel: KernelView,
    before: Beginning | None,
    now: datetime,
    is_carried: bool = False,
) -> tuple[PeerStatus, Finding | None, Beginning]:
    """Decide a pair's state, and what is wrong with it.

    Args:
        sas: charon's, or None if they could not be read.
        kernel: what it says.
        before: what was decided the turn before.
        is_carried: see `geneveil.agent.orphans`.
    Fails closed: yes; an SA that cannot be found in the kernel proves nothing. What could not be
        read is not missing: it is no reason to repair anything.
    """
    own = [sa for sa in sas or () if sa.connection == connection.name]
    carrying = _find_carrying(connection, own, kernel.states_by_key)
    complaints: list[str] = []
    is_doubted = is_missing = False
    if sas is None or is_carried:
        state = PeerState.UNKNOWN
    elif missing_children(connection, own):
        state = PeerState.CONNECTING if _is_under_way(own) else PeerState.DOWN
    else:
        complaints = _complaints(connection, carrying, kernel)
        is_missing = _is_missing(connection, carrying, kernel)
        is_doubted = is_missing and before is not None and before.state is PeerState.UP
        if is_doubted and before is not None and not before.is_doubted:
            complaints = []
        state = PeerState.UNPROVEN if complaints else PeerState.UP
    since = _since(state, before, own, now)
    status = _status(connection, state, since, carrying, now)
    finding = _finding(connection, state, complaints, is_carried)
    must_repair = is_missing and before is not None and before.is_missing
    return status, finding, Beginning(state, since, is_doubted, is_missing, must_repair)


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


@dataclass(frozen=True)
class _Carrying:
    """The SA that carries Geneve one way: charon's child, its SPI, and the kernel's state."""

    direction: Direction
    child: ChildSa | None
    spi: int
    kernel: XfrmState | None


def _find_carrying(
    connection: Connection, sas: list[IkeSa], by_key: Mapping[tuple[str, int], XfrmState]
) -> tuple[_Carrying, ...]:
    """Outbound SA of each `out` child and inbound SA of each `in` child.

    Of several the newest that the kernel has: the kernel sends through its newest, and while a
    child is being replaced charon lists the next one before all of it is in the kernel.
    """
    found = []
    ways = (Direction.OUT, Direction.IN)
    for way, name in ((w, c) for w in ways for c in connection.children if c.direction is w):
        destination = connection.remote_ip if way is Direction.OUT else connection.local_ip
        candidates = []
        for child in _installed(sas, str(name)):
            spi = child.spi_out if way is Direction.OUT else child.spi_in
            candidates.append(_Carrying(way, child, spi, by_key.get((destination, spi))))
        in_kernel = [candidate for candidate in candidates if candidate.kernel is not None]
        found.append((in_kernel or candidates or [_Carrying(way, None, 0, None)])[0])
    return tuple(found)


def _installed(sas: list[IkeSa], name: str) -> list[ChildSa]:
    """The installed children of a name, newest first."""
    children = [
        child for sa in sas for child in sa.children if child.name == name and child.is_installed
    ]
    return sorted(children, key=lambda c: (c.installed_seconds, -c.unique_id))


def _is_under_way(sas: list[IkeSa]) -> bool:
    return any(sa.is_starting or sa.is_busy for sa in sas)


def _is_missing(
    connection: Connection, carrying: tuple[_Carrying, ...], kernel: KernelView
) -> bool:
    lacks_state = kernel.states is not None and any(
        one.kernel is None or _only_holds_a_place(one.kernel) for one in carrying
    )
    return lacks_state or bool(
        kernel.policies is not None and missing_policies(connection, kernel.policies_of(connection))
    )


def _only_holds_a_place(state: XfrmState) -> bool:
    """The kernel makes such a state itself, under the SPI of the policy, for a packet that met
    none (xfrm_state_find in net/xfrm/xfrm_state.c): it carries nothing."""
    return state.aead is None and state.encryption is None and state.authentication is None


def _complaints(
    connection: Connection, carrying: tuple[_Carrying, ...], kernel: KernelView
) -> list[str]:
    if kernel.states is None:
        return ["the kernel's SAs could not be read"]
    if kernel.policies is None:
        return ["the kernel's policies could not be read"]
    lacking = ", ".join(
        str(child) for child in missing_policies(connection, kernel.policies_of(connection))
    )
    complaints = [f"the kernel has no policy for {lacking}"] if lacking else []
    for one in carrying:
        reason = unproven_reason(one.kernel) if one.kernel else "it is not in the kernel"
        if reason:
            complaints.append(f"{one.direction.value}bound SA {one.spi:08x}: {reason}")
    return complaints


def _status(
    connection: Connection,
    state: PeerState,
    since: datetime,
    carrying: tuple[_Carrying, ...],
    now: datetime,
) -> PeerStatus:
    outbound, inbound = (  # of several ports the lowest
        next(one for one in carrying if one.direction is way)
        for way in (Direction.OUT, Direction.IN)
    )
    children = [one.child for one in carrying if one.child is not None]
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
        cipher=CIPHER_WORD if state is PeerState.UP else reported,
        mode=first.mode.lower() if first else "",
        encapsulated=any(child.encapsulated for child in children),
        spi_out=outbound.spi,
        spi_in=inbound.spi,
        bytes_out=outbound.child.bytes_out if outbound.child else 0,
        bytes_in=inbound.child.bytes_in if inbound.child else 0,
        next_rekey=now + timedelta(seconds=min(rekeys)) if rekeys else None,
    )


def _finding(
    connection: Connection, state: PeerState, complaints: list[str], is_carried: bool
) -> Finding | None:
    subject = f"peer {connection.remote_chassis} at {connection.remote_ip}"
    if state is PeerState.UNPROVEN:
        return Finding(
            "peer-unproven",
            Severity.ERROR,
            subject,
            "; ".join(complaints),
            "what is not in the kernel is made anew; if it lasts, look at charon's log, "
            "`ip xfrm state` and `ip xfrm policy`, and at what removes them",
        )
    if state is PeerState.UNKNOWN and is_carried:
        return Finding(
            "peer-carried-over",
            Severity.WARNING,
            subject,
            "SAs that charon does not know carry its traffic; they are being replaced",
            "if it lasts, look at the peer's agent and charon; if it was not restarted on purpose, "
            "find out why charon ended",
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
