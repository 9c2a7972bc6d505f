"""A part of the witness's capture, while it grows: from a frame's beginning to the latest frame.

Counting from the start each time would read hundreds of megabytes for every fault.
"""

import struct
import subprocess
from pathlib import Path

from lab.errors import LabError

_FILE_HEADER_BYTES = 24
_RECORD_HEADER = struct.Struct("=IIII")


def count_frames(capture: Path, expression: str, seconds: float = 120) -> int:
    """Frames of a whole capture that match a pcap-filter(7) expression.

    Raises:
        LabError: they cannot be counted.
    """
    command = ["tcpdump", "-nr", str(capture), "--count", expression]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    words = done.stdout.split()
    if not words or not words[0].isdigit():
        raise LabError("the capture cannot be counted", why=done.stderr[-300:])
    return int(words[0])


class CaptureSlice:
    """Begins where the capture ends now; `advance` moves its end to the capture's end."""

    def __init__(self, capture: Path) -> None:
        self._capture = capture
        self._end = _FILE_HEADER_BYTES
        self.advance()
        self._begin = self._end

    def begin_here(self) -> None:
        """Begin anew at the end."""
        self.advance()
        self._begin = self._end

    def advance(self) -> None:
        """Take in every frame that is in the file whole."""
        size = self._capture.stat().st_size
        with self._capture.open("rb") as file:
            while self._end + _RECORD_HEADER.size <= size:
                file.seek(self._end)
                _, _, length, _ = _RECORD_HEADER.unpack(file.read(_RECORD_HEADER.size))
                following = self._end + _RECORD_HEADER.size + length
                if following > size:
                    break
                self._end = following

    def copy(self, path: Path) -> None:
        """Write the part as a capture of its own."""
        with self._capture.open("rb") as file, path.open("wb") as out:
            out.write(file.read(_FILE_HEADER_BYTES))
            file.seek(self._begin)
            left = self._end - self._begin
            while left:
                chunk = file.read(min(left, 1 << 20))
                out.write(chunk)
                left -= len(chunk)

    def count(self, expression: str) -> int:
        """Frames of the part that match a pcap-filter(7) expression, as tcpdump counts them."""
        command = ["tcpdump", "-nr", "-", "--count", expression]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin and process.stdout and process.stderr  # noqa: S101  PIPEs
            with self._capture.open("rb") as file, process.stdin as sink:
                sink.write(file.read(_FILE_HEADER_BYTES))
                file.seek(self._begin)
                left = self._end - self._begin
                while left:
                    chunk = file.read(min(left, 1 << 20))
                    sink.write(chunk)
                    left -= len(chunk)
            words = process.stdout.read().split()
            errors = process.stderr.read()
        if not words or not words[0].isdigit():
            raise LabError("the capture cannot be counted", why=errors.decode()[-300:])
        return int(words[0])
