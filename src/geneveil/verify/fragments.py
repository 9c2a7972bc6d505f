"""Puts fragmented packets together again, so that none can hide what is in it.

The pods' MTU is made so that nothing on the wire is fragmented; if something is, it is counted,
reassembled and judged like any other packet. What never becomes whole is kept by name: it could
have hidden a probe, and the judge says so.

Source: RFC 791 (3.2), RFC 8200 (4.5). Overlapping pieces: the first byte seen stays.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from geneveil.verify.packet import IpPacket


class _Key(NamedTuple):
    source: bytes
    destination: bytes
    identification: int
    protocol: int


@dataclass
class Pieces:
    """Fragments of one packet so far.

    Attributes:
        first: the packet with offset 0, if it came, with its piece of the payload.
        frames: numbers of the frames that brought the pieces.
        time_ns: when the first piece to arrive was seen.
    """

    source: bytes
    destination: bytes
    protocol: int
    time_ns: int
    first: IpPacket | None = None
    frames: list[int] = field(default_factory=list)
    parts: dict[int, bytes] = field(default_factory=dict)
    total_bytes: int | None = None

    def whole(self) -> bytes | None:
        """The payload, or None while a piece is missing."""
        if self.first is None or self.total_bytes is None:
            return None
        data = bytearray()
        for offset in sorted(self.parts):
            if offset > len(data):
                return None
            data += self.parts[offset][len(data) - offset :]
        return bytes(data) if len(data) >= self.total_bytes else None


class Reassembler:
    """Holds the pieces of one capture."""

    def __init__(self) -> None:
        self._pending: dict[_Key, Pieces] = {}

    def add(self, number: int, time_ns: int, packet: IpPacket) -> tuple[IpPacket, Pieces] | None:
        """Take one fragment; the whole packet if it was the last that was missing."""
        fragment = packet.fragment
        if fragment is None:
            raise ValueError("the packet is not a fragment")
        # A later IPv6 piece repeats the first one's next header after the fragment header, so
        # the protocol may differ only where extension headers were cut: it is left out for them.
        protocol = packet.protocol if len(packet.source) == 4 else 0
        key = _Key(packet.source, packet.destination, fragment.identification, protocol)
        pieces = self._pending.get(key)
        if pieces is None:
            pieces = Pieces(packet.source, packet.destination, packet.protocol, time_ns)
            self._pending[key] = pieces
        pieces.frames.append(number)
        pieces.parts.setdefault(fragment.offset, packet.payload)
        if fragment.offset == 0:
            pieces.first = packet
            pieces.protocol = packet.protocol
        if not fragment.more:
            pieces.total_bytes = fragment.offset + len(packet.payload)
        payload = pieces.whole()
        if payload is None or pieces.first is None:
            return None
        del self._pending[key]
        return pieces.first._replace(payload=payload, fragment=None), pieces

    def incomplete(self) -> tuple[Pieces, ...]:
        """What never became whole."""
        return tuple(self._pending.values())
