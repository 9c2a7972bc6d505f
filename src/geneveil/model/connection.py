"""IKE connections and SAs as values: what this node should have, and what charon says it has."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

OWNED_PREFIX = "geneveil-"
"""Connections whose names begin so are ours; all others belong to somebody else."""

GENEVE_PORT = 6081
"""The port that IANA gave to Geneve (RFC 8926 §3.3)."""

IKE_PROPOSALS = ("aes256gcm16-prfsha384-x25519", "aes256gcm16-prfsha384-ecp384")
ESP_PROPOSALS = ("aes256gcm16-x25519-esn", "aes256gcm16-ecp384-esn", "aes256gcm16-esn")
"""With forward secrecy first. The first CHILD_SA of an IKE_SA has no key exchange of its own
(RFC 7296 §1.2), whichever is chosen; the last one is for peers that never do one."""

IKE_REKEY_SECONDS = 4 * 3600
"""One Diffie-Hellman exchange a pair each four hours costs nothing; certificates are not asked
for again by a rekeying, so this bounds only how much one IKE key protects."""

CHILD_REKEY_SECONDS = 3600
"""Bounds what one traffic key protects. ESN leaves 2^64 packets (RFC 4303 §2.2.1) and AES-GCM a
64-bit IV counter (RFC 4106 §3.1), so time is the only limit that is ever met."""

DPD_SECONDS = 5
"""How long a peer may be silent before it is asked; with the patience of
`geneveil.agent.dead_peers` (72 s) a dead peer's SAs end after 77 s. A peer that was restarted, and
that lost its SAs, makes new ones by itself long before."""

REPLAY_WINDOW_PACKETS = 1024
"""Reordering across queues and paths at line rate exceeds the default of 32; the kernel allows
4096 with ESN (include/net/xfrm.h, XFRMA_REPLAY_ESN_MAX)."""

FIRST_REQID, LAST_REQID = 1 << 30, (1 << 31) - 1
"""Our reqids are between these, and nobody else's: charon counts from 1, libreswan from 0x4000, the
kernel up to 0x3fff (IPSEC_MANUAL_REQID_MAX). So the guard can tell our SAs from those of others."""


class Direction(Enum):
    """Which way Geneve flows in a child: each child leaves its other direction idle."""

    IN = "in"
    OUT = "out"


@dataclass(frozen=True, order=True)
class ChildName:
    """The name of a child: `in` and `out` for Geneve's own port, `in-7000` for another."""

    port: int
    direction_text: str

    @property
    def direction(self) -> Direction:
        return Direction(self.direction_text)

    def __str__(self) -> str:
        if self.port == GENEVE_PORT:
            return self.direction_text
        return f"{self.direction_text}-{self.port}"


def children_of(port: int) -> tuple[ChildName, ChildName]:
    """The two children that a Geneve port needs."""
    return ChildName(port, Direction.IN.value), ChildName(port, Direction.OUT.value)


@dataclass(frozen=True, order=True)
class Connection:
    """One pair of addresses and the two chassis behind them.

    Attributes:
        ports: the Geneve ports between them, ascending; two children each.
        force_encapsulation: ESP in UDP 4500 even without a NAT.
    """

    local_chassis: str
    remote_chassis: str
    local_ip: str
    remote_ip: str
    ports: tuple[int, ...] = (GENEVE_PORT,)
    force_encapsulation: bool = False

    @property
    def name(self) -> str:
        """Says whom it connects. An address that changes makes another connection, on purpose:
        nothing of the old one can be kept."""
        return f"{OWNED_PREFIX}{self.remote_chassis}-{self.local_ip}-{self.remote_ip}"

    @property
    def children(self) -> tuple[ChildName, ...]:
        return tuple(child for port in self.ports for child in children_of(port))

    def reqid(self, child: ChildName) -> int:
        """What ties the kernel's policies and states of a child together.

        The same in every life of charon: so the SAs that a charon left behind still match the
        policies of the next, and are known for ours.
        """
        digest = hashlib.sha256(f"geneveil reqid {self.name} {child}".encode()).digest()
        return FIRST_REQID | int.from_bytes(digest[:4]) >> 2


@dataclass(frozen=True)
class Identity:
    """What this node proves itself with. The key's bytes never show in a representation.

    Attributes:
        certificate_der: the node's own certificate.
        key_der: its private key, PKCS #8.
        trust_bundle_der: the CAs to trust, at least one.
        fingerprint: SHA-256 of the certificate, hexadecimal.
        trust_fingerprints: the same of each certificate of the bundle, in its order.
        crls_der: the newest CRL of each authority that has one.
        crl_fingerprints: SHA-256 of each of them, hexadecimal.
        dropped_fingerprints: of authorities that once were in the bundle: charon must not keep
            them.
        retiring_key_id: the id by which charon lists the key that this one replaces; empty when
            there is none left.
    """

    certificate_der: bytes = field(repr=False)
    key_der: bytes = field(repr=False)
    trust_bundle_der: tuple[bytes, ...] = field(repr=False)
    fingerprint: str
    trust_fingerprints: tuple[str, ...]
    crls_der: tuple[bytes, ...] = field(default=(), repr=False)
    crl_fingerprints: tuple[str, ...] = ()
    dropped_fingerprints: frozenset[str] = frozenset()
    retiring_key_id: str = ""


@dataclass(frozen=True)
class ChildSa:
    """One CHILD_SA as charon lists it. SPIs are whole numbers; 0: not there yet."""

    name: str
    unique_id: int
    state: str
    mode: str
    spi_in: int
    spi_out: int
    cipher: str
    key_bits: int
    esn: bool
    encapsulated: bool
    bytes_in: int
    bytes_out: int
    packets_in: int
    packets_out: int
    installed_seconds: int
    rekey_seconds: int | None

    @property
    def is_installed(self) -> bool:
        """Carrying, or able to carry, traffic: also while its successor is being negotiated."""
        return self.state in ("INSTALLED", "UPDATING", "REKEYING", "REKEYED")


@dataclass(frozen=True)
class IkeSa:
    """One IKE_SA as charon lists it.

    Attributes:
        tasks: those under way or waiting.
        is_nat_faked: this node asked for encapsulation, whether or not there is a NAT.
    """

    connection: str
    unique_id: int
    state: str
    is_initiator: bool
    local_ip: str
    remote_ip: str
    remote_id: str
    established_seconds: int | None
    rekey_seconds: int | None
    children: tuple[ChildSa, ...]
    tasks: tuple[str, ...] = ()
    is_nat_faked: bool = False

    @property
    def is_busy(self) -> bool:
        """A child is being made, or waits for its turn."""
        return "CHILD_CREATE" in self.tasks

    @property
    def is_asking(self) -> bool:
        """charon waits for a sign of life."""
        return "IKE_DPD" in self.tasks

    @property
    def is_ending(self) -> bool:
        """It was told to close; it still counts as established while another exchange is open."""
        return "IKE_DELETE" in self.tasks

    @property
    def age_seconds(self) -> int:
        """Since the peers proved who they are, as far as it can be told: a rekeyed IKE_SA counts
        from its rekeying, but takes its older children along."""
        ages = [child.installed_seconds for child in self.children]
        return max([self.established_seconds or 0, *ages])

    @property
    def is_established(self) -> bool:
        return self.state in ("ESTABLISHED", "REKEYING", "PASSIVE")

    @property
    def is_starting(self) -> bool:
        return self.state in ("CREATED", "CONNECTING")


def sas_by_connection(sas: Iterable[IkeSa]) -> Mapping[str, tuple[IkeSa, ...]]:
    """Each connection's own, in their order. Looking through all of them for each pair would cost
    the square of the number of peers."""
    found: dict[str, list[IkeSa]] = {}
    for sa in sas:
        found.setdefault(sa.connection, []).append(sa)
    return {name: tuple(own) for name, own in found.items()}


@dataclass(frozen=True)
class ObservedConnection:
    """A connection that charon has loaded: the parts of it that charon tells."""

    name: str
    local_ips: tuple[str, ...]
    remote_ips: tuple[str, ...]
    remote_id: str
    children: tuple[str, ...]


@dataclass(frozen=True)
class ObservedIke:
    """One complete reading of charon.

    Attributes:
        version: charon's version.
        instance: differs whenever this may be another charon, or another state of memory.
        connections, sas: everything that charon has, of others too, sorted by name.
        key_ids: hexadecimal ids of the private keys in its memory.
        certificates: SHA-256 fingerprints of the certificates and CRLs in its memory.
        shared_ids: names of the shared secrets in its memory that have one; none is ever ours.
    """

    version: str
    instance: int
    connections: tuple[ObservedConnection, ...]
    sas: tuple[IkeSa, ...]
    key_ids: frozenset[str]
    certificates: frozenset[str]
    shared_ids: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        """Of every connection that is loaded or has an SA."""
        loaded = (connection.name for connection in self.connections)
        return frozenset((*loaded, *self._sas_by_connection))

    def begun_at(self, local_ip: str, remote_ip: str) -> tuple[IkeSa, ...]:
        """Those that a peer is beginning between two addresses, whatever connection they get."""
        return self._begun_by_ends.get((local_ip, remote_ip), ())

    @cached_property
    def _begun_by_ends(self) -> Mapping[tuple[str, str], tuple[IkeSa, ...]]:
        found: dict[tuple[str, str], tuple[IkeSa, ...]] = {}
        for sa in self.sas:
            if sa.is_starting and not sa.is_initiator:
                ends = (sa.local_ip, sa.remote_ip)
                found[ends] = (*found.get(ends, ()), sa)
        return found

    def sas_of(self, connection: Connection) -> tuple[IkeSa, ...]:
        """Those of one connection."""
        return self._sas_by_connection.get(connection.name, ())

    @cached_property
    def _sas_by_connection(self) -> Mapping[str, tuple[IkeSa, ...]]:
        return sas_by_connection(self.sas)

    def is_ours_alone(self, own_keys: frozenset[str]) -> bool:
        """Whether this charon shows no sign of another owner.

        Clearing credentials takes everything that anybody loaded, and charon does not list all of
        it: a secret without a name is nowhere. So whoever has a connection, an SA, a key or a named
        secret there is taken to need the rest as well.
        """
        names = [*(c.name for c in self.connections), *(sa.connection for sa in self.sas)]
        ours = all(name.startswith(OWNED_PREFIX) for name in names)
        return ours and self.key_ids <= own_keys and not self.shared_ids
