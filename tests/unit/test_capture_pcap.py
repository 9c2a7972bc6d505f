"""Captures are read whole, or refused with the place where they are not."""

import hashlib
import struct
from pathlib import Path

import pytest

from geneveil.capture.errors import CaptureError
from geneveil.capture.io import open_capture
from geneveil.capture.wire import parse_pcap
from geneveil.model.frames import Frame

FRAMES = [
    Frame(1, 1_700_000_000_123_456_000, b"one", 3),
    Frame(2, 1_700_000_001_000_000_000, b"two!", 9),
]


def write_pcap(
    order: str = "<", magic: int = 0xA1B2C3D4, unit_ns: int = 1000, link: int = 1
) -> bytes:
    parts = [struct.pack(f"{order}IHHIIII", magic, 2, 4, 0, 0, 262144, link)]
    for frame in FRAMES:
        seconds, rest = divmod(frame.time_ns, 1_000_000_000)
        parts.append(
            struct.pack(f"{order}IIII", seconds, rest // unit_ns, len(frame.data), frame.wire_bytes)
        )
        parts.append(frame.data)
    return b"".join(parts)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "unit_ns"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_either_byte_order_and_either_resolution(order: str, magic: int, unit_ns: int) -> None:
    assert list(parse_pcap(write_pcap(order, magic, unit_ns), "x.pcap")) == FRAMES


def test_a_capture_without_frames() -> None:
    assert list(parse_pcap(write_pcap()[:24], "x.pcap")) == []


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "x.pcap is empty"),
        (b"#!/bin/sh\n" + bytes(40), "is not a pcap file: it begins with 23212f62"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "is pcapng"),
        (write_pcap()[:20], "ends at offset 20"),
        (write_pcap(link=113), "has link type 113"),
        (write_pcap()[:30], "cut short: frame 1 at offset 24: its header needs 16 bytes, 6 are"),
        (write_pcap()[:-1], "cut short: frame 2 at offset 43: it has 4 bytes, 3 are left"),
        (write_pcap()[:24] + struct.pack("<IIII", 0, 0, 1 << 30, 1 << 30), "offset 24 is damaged"),
        (write_pcap()[:24] + struct.pack("<IIII", 0, 0, 5, 4) + b"12345", "offset 24 is damaged"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_offset(data: bytes, complaint: str) -> None:
    with pytest.raises(CaptureError) as caught:
        list(parse_pcap(data, "x.pcap"))
    assert complaint in caught.value.render()


def test_a_file_is_hashed_and_its_progress_told(tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    path.write_bytes(write_pcap())
    told: list[int] = []
    with open_capture(path, told.append) as capture:
        assert list(capture.frames) == FRAMES
        assert list(capture.frames) == FRAMES
    assert (capture.name, capture.size_bytes) == ("x.pcap", len(write_pcap()))
    assert capture.sha256 == hashlib.sha256(write_pcap()).hexdigest()
    assert told == 2 * [len(write_pcap())]


@pytest.mark.parametrize("name", ["missing.pcap", "."])
def test_a_file_that_cannot_be_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(CaptureError, match="cannot read"), open_capture(tmp_path / name):
        pass


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "x.pcap").touch()
    with pytest.raises(CaptureError, match="is empty"), open_capture(tmp_path / "x.pcap"):
        pass
