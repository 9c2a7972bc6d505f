"""Captured frames, as the witness's reader hands them to the judge.

The judge decides from these values alone, so that a capture read from a file, one held in memory
and one built in a test are the same thing to it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Frame(NamedTuple):
    """One Ethernet frame of a capture.

    Attributes:
        number: place in the capture, from 1, as tcpdump and Wireshark count.
        time_ns: when the witness saw it, nanoseconds since the epoch, on the witness's clock.
        data: the bytes that were kept, from the destination MAC address on.
        wire_bytes: how long the frame was on the wire; more than len(data) if it was cut.
    """

    number: int
    time_ns: int
    data: bytes
    wire_bytes: int


@dataclass(frozen=True)
class Capture:
    """One capture of one cluster phase.

    Attributes:
        name: file name, for people.
        sha256: hex digest of the file, so that a report names the very bytes it judged.
        size_bytes: size of the file.
        frames: every frame in order; iterated once by the judge. Reading them may raise.
    """

    name: str
    sha256: str
    size_bytes: int
    frames: Iterable[Frame]
