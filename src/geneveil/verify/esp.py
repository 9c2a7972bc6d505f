"""Decrypts captured ESP with the nodes' own keys, and names what it may not be.

The integrity check value is what proves: a packet that opens with an SA's key was sealed with that
key, whatever anybody says. Nothing is taken on trust from the wire: the extended sequence number's
upper half is not on it and is searched for; the trailer is checked byte by byte.

Source: RFC 4303 (2: format, 2.2.1 and appendix A: ESN, 2.4: padding), RFC 4106 (nonce = salt +
IV; AAD = SPI + sequence number, 64 bits of it with ESN), RFC 3948 (ESP in UDP).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from geneveil.verify.evidence import GCM_AES, SaKey
from geneveil.verify.packet import PROTOCOL_IPV4, PROTOCOL_IPV6, PROTOCOL_NONE, pack_address

REQUIRED_KEY_BYTES = 32
REQUIRED_ICV_BITS = 128
REQUIRED_CIPHER = "AES-GCM-16-256"
NAT_TRAVERSAL_PORT = 4500

HEADER_BYTES = 8
_IV_BYTES = 8
_PADDING = bytes(range(1, 256))
_FIRST_GUESSES = 8  # upper halves of a sequence number to try first on an SA never opened before


def cipher_name(sa: SaKey) -> str:
    """The cipher as people name it: AES-GCM-16-256 is a 16-byte ICV and a 256-bit key."""
    if sa.algorithm == GCM_AES:
        return f"AES-GCM-{sa.icv_bits // 8}-{len(sa.key) * 8}"
    if "cipher_null" in sa.algorithm:
        return f"no encryption ({sa.algorithm})"
    return f"{sa.algorithm}, {len(sa.key) * 8}-bit key"


def is_required_cipher(sa: SaKey) -> bool:
    """AES-GCM with a 256-bit key and a 16-byte ICV, and nothing else."""
    return (
        sa.algorithm == GCM_AES
        and len(sa.key) == REQUIRED_KEY_BYTES
        and len(sa.salt) == 4
        and sa.icv_bits == REQUIRED_ICV_BITS
    )


class Sealed(Enum):
    """Why an ESP packet stayed closed."""

    UNKNOWN_SPI = "no key for this SPI"
    OTHER_CIPHER = "its SA does not use AES-GCM"
    INTEGRITY = "the integrity check fails with the key given"
    MALFORMED = "too short to be ESP, or cut"
    TRAILER = "the padding after decryption is not 1, 2, 3…"


class Opened(NamedTuple):
    """A decrypted ESP packet.

    Attributes:
        sa: the SA whose key opened it.
        next_header: IP protocol of the payload: 17 is UDP in transport mode, 4 and 41 tunnel mode.
        payload: what was sealed, without padding.
    """

    sa: SaKey
    next_header: int
    payload: bytes

    @property
    def mode(self) -> str:
        """transport, tunnel, or dummy (RFC 4303, 2.6), as the packet itself says."""
        if self.next_header in (PROTOCOL_IPV4, PROTOCOL_IPV6):
            return "tunnel"
        return "dummy" if self.next_header == PROTOCOL_NONE else "transport"


class Closed(NamedTuple):
    """An ESP packet that could not be decrypted; `sa` is the likeliest SA, if any has its SPI."""

    why: Sealed
    spi: int
    sa: SaKey | None


@dataclass
class _Association:
    """An SA and how far its sequence numbers have come."""

    sa: SaKey
    high: int
    opened: bool = False

    def guesses(self) -> Iterator[int]:
        """Upper halves to try, likeliest first."""
        seen = set()
        near = (self.high, self.high + 1, self.high - 1)
        far = () if self.opened else (*range(_FIRST_GUESSES), self.sa.sequence_high - 1)
        for guess in (*near, *far):
            if guess >= 0 and guess not in seen:
                seen.add(guess)
                yield guess


class SaTable:
    """The SAs of one capture, found by destination and SPI. Remembers sequence numbers."""

    def __init__(self, keys: Iterable[SaKey]) -> None:
        self._by_spi: dict[tuple[bytes, int], list[_Association]] = {}
        seen: set[tuple[object, ...]] = set()
        for sa in keys:
            identity = (sa.source, sa.destination, sa.spi, sa.algorithm, sa.key, sa.salt)
            if (identity, sa.icv_bits, sa.esn) in seen:
                continue  # the other end's reading of the same SA
            seen.add((identity, sa.icv_bits, sa.esn))
            place = (pack_address(sa.destination), sa.spi)
            self._by_spi.setdefault(place, []).append(_Association(sa, sa.sequence_high))

    def open(self, destination: bytes, packet: bytes) -> Opened | Closed:
        """Decrypt one ESP packet, from its SPI to its ICV.

        Args:
            destination: packed outer destination address; an SPI means nothing without it.
            packet: the IP (or UDP, RFC 3948) payload.
        """
        spi = int.from_bytes(packet[:4], "big")
        if len(packet) < HEADER_BYTES:
            return Closed(Sealed.MALFORMED, spi, None)
        candidates = self._by_spi.get((destination, spi))
        if not candidates:
            return Closed(Sealed.UNKNOWN_SPI, spi, None)
        why, last = Sealed.OTHER_CIPHER, candidates[-1].sa
        for association in candidates:
            if association.sa.algorithm != GCM_AES:
                continue
            if len(packet) < HEADER_BYTES + _IV_BYTES + association.sa.icv_bits // 8 + 2:
                return Closed(Sealed.MALFORMED, spi, association.sa)
            plain = _decrypt(association, packet)
            if plain is not None:
                return _strip_trailer(association.sa, spi, plain)
            why, last = Sealed.INTEGRITY, association.sa
        return Closed(why, spi, last)


def _decrypt(association: _Association, packet: bytes) -> bytes | None:
    sa = association.sa
    nonce = sa.salt + packet[8:16]
    if not sa.esn:
        return _open_gcm(sa, nonce, packet[16:], packet[:8])
    for high in association.guesses():
        plain = _open_gcm(
            sa, nonce, packet[16:], packet[:4] + high.to_bytes(4, "big") + packet[4:8]
        )
        if plain is not None:
            association.high, association.opened = high, True
            return plain
    return None


def _open_gcm(sa: SaKey, nonce: bytes, sealed: bytes, associated: bytes) -> bytes | None:
    try:
        if sa.icv_bits == REQUIRED_ICV_BITS:
            return AESGCM(sa.key).decrypt(nonce, sealed, associated)
        icv_bytes = sa.icv_bits // 8  # RFC 4106 allows 8 and 12; opened only to be named
        mode = GCM(nonce, sealed[-icv_bytes:], min_tag_length=icv_bytes)
        decryptor = Cipher(AES(sa.key), mode).decryptor()
        decryptor.authenticate_additional_data(associated)
        return decryptor.update(sealed[:-icv_bytes]) + decryptor.finalize()
    except (InvalidTag, ValueError):  # ValueError: no AES key or nonce has this length
        return None


def _strip_trailer(sa: SaKey, spi: int, plain: bytes) -> Opened | Closed:
    if len(plain) < 2:
        return Closed(Sealed.TRAILER, spi, sa)
    pad_bytes, next_header = plain[-2], plain[-1]
    end = len(plain) - 2 - pad_bytes
    if end < 0 or plain[end:-2] != _PADDING[:pad_bytes]:
        return Closed(Sealed.TRAILER, spi, sa)
    return Opened(sa, next_header, plain[:end])


class UdpEncapsulated(Enum):
    """What a datagram on the NAT-T port is (RFC 3948, 2.1 to 2.3)."""

    IKE = "IKE"
    KEEPALIVE = "NAT-T keepalive"
    ESP = "ESP in UDP"


def classify_nat_traversal(payload: bytes) -> UdpEncapsulated:
    """Tell IKE (four zero bytes), keepalive (one byte 0xff) and ESP (all else) apart."""
    if payload == b"\xff":
        return UdpEncapsulated.KEEPALIVE
    if payload[:4] == b"\0\0\0\0":
        return UdpEncapsulated.IKE
    return UdpEncapsulated.ESP
