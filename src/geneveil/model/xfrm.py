"""The kernel's IPsec database as values: states (SAs) and policies. No key is ever in them."""

from dataclasses import dataclass
from enum import Enum


class XfrmMode(Enum):
    """include/uapi/linux/xfrm.h, XFRM_MODE_*; the value is the kernel's number."""

    TRANSPORT = 0
    TUNNEL = 1
    OTHER = -1


class XfrmDirection(Enum):
    """include/uapi/linux/xfrm.h, XFRM_POLICY_*; the value is the kernel's number."""

    IN = 0
    OUT = 1
    FORWARD = 2
    OTHER = -1


@dataclass(frozen=True)
class XfrmSelector:
    """Which traffic. Port masks of 0 mean any port; protocol 0 any protocol."""

    source: str
    source_prefix_bits: int
    destination: str
    destination_prefix_bits: int
    protocol: int
    source_port: int
    source_port_mask: int
    destination_port: int
    destination_port_mask: int


@dataclass(frozen=True)
class XfrmAlgorithm:
    """An algorithm without its key.

    Attributes:
        name: the kernel's, such as `rfc4106(gcm(aes))`.
        key_bits: the length of the key material: for AES-GCM the salt of 32 bits is part of it.
        icv_bits: length of the integrity check value; 0 where there is none.
    """

    name: str
    key_bits: int
    icv_bits: int


@dataclass(frozen=True)
class XfrmEncapsulation:
    """ESP in UDP (RFC 3948)."""

    kind: int
    source_port: int
    destination_port: int


@dataclass(frozen=True)
class XfrmLifetime:
    """Seconds after the state was added; 0: never."""

    soft_add_seconds: int
    hard_add_seconds: int


@dataclass(frozen=True)
class XfrmState:
    """One SA of the kernel.

    Attributes:
        protocol: 50 for ESP.
        aead: for combined algorithms such as AES-GCM, else None.
        encryption, authentication: for separate ones, else None.
        added_at_seconds: since the epoch, by the kernel's clock.
        bytes, packets: what it carried.
        replayed_packets, failed_packets: what it refused.
    """

    source: str
    destination: str
    spi: int
    protocol: int
    reqid: int
    mode: XfrmMode
    selector: XfrmSelector
    aead: XfrmAlgorithm | None
    encryption: XfrmAlgorithm | None
    authentication: XfrmAlgorithm | None
    esn: bool
    replay_window_packets: int
    encapsulation: XfrmEncapsulation | None
    lifetime: XfrmLifetime
    added_at_seconds: int
    bytes: int
    packets: int
    replayed_packets: int
    failed_packets: int


@dataclass(frozen=True)
class XfrmTemplate:
    """What a policy asks for. Empty addresses (unspecified) mean those of the packet."""

    source: str
    destination: str
    spi: int
    protocol: int
    reqid: int
    mode: XfrmMode
    optional: bool


@dataclass(frozen=True)
class XfrmPolicy:
    """One policy of the kernel; `allows` is False for a policy that blocks."""

    selector: XfrmSelector
    direction: XfrmDirection
    priority: int
    index: int
    allows: bool
    templates: tuple[XfrmTemplate, ...]
