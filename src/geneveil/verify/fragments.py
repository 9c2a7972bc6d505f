"""Puts fragmented packets together again, so that none can hide what is in it.

The pods' MTU is made so that nothing on the wire is fragmented; if something is, it is counted,
reassembled and judged like any other packet. What can't be put together is kept by name: it could
have hidden a probe, and the judge says so. That is a packet of which a piece is missing, and one
whose pieces contradict each other: receivers differ in which of two overlapping pieces they
believe, so no one reading of it is the truth. Every mark of every piece counts in either case.

Source: RFC 791 (3.2), RFC 8200 (4.5), RFC 5722 (overlapping pieces).
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
        marks: every mark in any of those frames.
        parts: offset and bytes of each piece, none twice.
        total_bytes: length of the payload, once its last piece has come.
        conflicting: two pieces say different things of the same bytes, or of where the end is.
    """

    source: bytes
    destination: bytes
    protocol: int
    time_ns: int
    first: IpPacket | None = None
    frames: list[int] = field(default_factory=list)
    marks: frozenset[bytes] = frozenset()
    parts: list[tuple[int, bytes]] = field(default_factory=list)
    total_bytes: int | None = None
    conflicting: bool = False

    def add(self, offset: int, data: bytes, last: bool) -> None:
        """Take a piece and compare it with those that it overlaps."""
        end = offset + len(data)
        if last:
            self.conflicting |= self.total_bytes not in (None, end)
            self.total_bytes = end
        if (offset, data) not in self.parts:
            self.conflicting |= any(_differ(offset, data, *part) for part in self.parts)
            self.parts.append((offset, data))
        if self.total_bytes is not None:
            self.conflicting |= any(o + len(d) > self.total_bytes for o, d in self.parts)

    def heads(self) -> list[bytes]:
        """Every piece that begins the payload; more than one only if they overlap."""
        return [data for offset, data in self.parts if offset == 0]

    def whole(self) -> bytes | None:
        """The payload, or None while a piece is missing and once two contradict each other."""
        if self.first is None or self.total_bytes is None or self.conflicting:
            return None
        data = bytearray()
        for offset, part in sorted(self.parts):
            if offset > len(data):
                return None
            data += part[len(data) - offset :]
        return bytes(data) if len(data) >= self.total_bytes else None


def _differ(offset: int, data: bytes, other_offset: int, other: bytes) -> bool:
    begin = max(offset, other_offset)
    end = min(offset + len(data), other_offset + len(other))
    return begin < end and (
        data[begin - offset : end - offset] != other[begin - other_offset : end - other_offset]
    )


class Reassembler:
    """Holds the pieces of one capture."""

    def __init__(self) -> None:
        self._pending: dict[_Key, Pieces] = {}

    def add(
        self, number: int, time_ns: int, packet: IpPacket, marks: frozenset[bytes]
    ) -> tuple[IpPacket, Pieces] | None:
        """Take one fragment; the whole packet if it was the last that was missing.

        Args:
            marks: those in the frame that brought it.
        """
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
        pieces.marks |= marks
        pieces.add(fragment.offset, packet.payload, last=not fragment.more)
        if fragment.offset == 0:
            # Two heads may agree in every byte and yet not in what they are.
            pieces.conflicting |= pieces.first is not None and pieces.protocol != packet.protocol
            pieces.first = pieces.first or packet
            pieces.protocol = pieces.first.protocol
        payload = pieces.whole()
        if payload is None or pieces.first is None:
            return None
        del self._pending[key]
        return pieces.first._replace(payload=payload, fragment=None), pieces

    def incomplete(self) -> tuple[Pieces, ...]:
        """What never became whole."""
        return tuple(self._pending.values())
