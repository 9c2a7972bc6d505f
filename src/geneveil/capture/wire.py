"""Classic pcap files: bytes in, frames out. No file is opened here.

Only what the witness writes is read: classic pcap in either byte order, microseconds or
nanoseconds, link type Ethernet. Anything else is refused by name, and a file that ends in the
middle of a record is an error with its offset: a capture that was cut short proves nothing.

Source: draft-ietf-opsawg-pcap; linktypes from tcpdump.org/linktypes.html.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from geneveil.capture.errors import CaptureError
from geneveil.model.frames import Frame

Buffer = bytes | mmap.mmap

GLOBAL_HEADER_BYTES = 24
RECORD_HEADER_BYTES = 16
LINKTYPE_ETHERNET = 1
# A GSO frame is at most 64 KiB and some; beyond this a length is not a length.
LONGEST_RECORD_BYTES = 1 << 19

_MAGICS: dict[bytes, tuple[str, int]] = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
_PCAPNG = b"\x0a\x0d\x0d\x0a"


@dataclass(frozen=True)
class PcapHeader:
    """What the file's first 24 bytes say.

    Attributes:
        byte_order: "<" or ">", as struct writes it.
        fraction_ns: nanoseconds per unit of a record's sub-second field: 1000 or 1.
        snapshot_bytes: the longest frame that the witness kept whole; 0 if it did not say.
    """

    byte_order: str
    fraction_ns: int
    snapshot_bytes: int


def parse_pcap_header(data: Buffer, name: str) -> PcapHeader:
    """Read the file header.

    Raises:
        CaptureError: empty, too short, pcapng, not a capture at all, or not Ethernet.
    """
    head = data[:GLOBAL_HEADER_BYTES]
    if not head:
        raise CaptureError(f"{name} is empty", remedy="the witness never wrote it; run it again")
    if head[:4] == _PCAPNG:
        raise CaptureError(
            f"{name} is pcapng", remedy="the witness must write classic pcap; editcap -F pcap"
        )
    if head[:4] not in _MAGICS:
        raise CaptureError(f"{name} is not a pcap file", why=f"it begins with {head[:4].hex()}")
    if len(head) < GLOBAL_HEADER_BYTES:
        raise CaptureError(
            f"{name} ends at offset {len(head)}", why="the file header is 24 bytes long"
        )
    order, fraction_ns = _MAGICS[head[:4]]
    snapshot, link = struct.unpack_from(f"{order}II", head, 16)
    if link & 0xFFFF != LINKTYPE_ETHERNET:
        raise CaptureError(
            f"{name} has link type {link & 0xFFFF}",
            why="the judge reads Ethernet (1) alone",
            remedy="capture on the bridge itself, not on 'any'",
        )
    return PcapHeader(order, fraction_ns, snapshot)


def parse_pcap(data: Buffer, name: str) -> Iterator[Frame]:
    """Every frame of a capture, in the order of the file.

    Raises:
        CaptureError: as `parse_pcap_header`; or a record is cut or has an impossible length; names
            the frame's number and the offset at which its record begins.
    """
    header = parse_pcap_header(data, name)
    unpack = struct.Struct(f"{header.byte_order}IIII").unpack_from
    fraction_ns = header.fraction_ns
    end, offset, number = len(data), GLOBAL_HEADER_BYTES, 0
    while offset < end:
        number += 1
        body = offset + RECORD_HEADER_BYTES
        if body > end:
            raise _cut(name, number, offset, f"its header needs 16 bytes, {end - offset} are left")
        seconds, fraction, kept, wire_bytes = unpack(data, offset)
        if kept > LONGEST_RECORD_BYTES or kept > wire_bytes:
            raise CaptureError(
                f"{name}: frame {number} at offset {offset} is damaged",
                why=f"it claims {kept} bytes kept of {wire_bytes}",
            )
        if body + kept > end:
            raise _cut(name, number, offset, f"it has {kept} bytes, {end - body} are left")
        time_ns = seconds * 1_000_000_000 + fraction * fraction_ns
        yield Frame(number, time_ns, data[body : body + kept], wire_bytes)
        offset = body + kept


def _cut(name: str, number: int, offset: int, why: str) -> CaptureError:
    return CaptureError(
        f"{name} is cut short: frame {number} at offset {offset}",
        why=why,
        remedy="the witness was stopped hard or the disk was full; run it again",
    )
