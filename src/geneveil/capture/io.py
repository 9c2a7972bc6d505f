"""Opens capture files. The only place here that touches the file system."""

import hashlib
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from geneveil.capture.errors import CaptureError
from geneveil.capture.wire import Buffer, parse_pcap, parse_pcap_header
from geneveil.model.frames import Capture, Frame

_REPORT_EVERY_FRAMES = 1024


class _PcapFrames:
    """Frames of an open file; reads it anew each time it is iterated."""

    def __init__(self, data: Buffer, name: str, on_progress: Callable[[int], None] | None) -> None:
        self._data = data
        self._name = name
        self._on_progress = on_progress

    def __iter__(self) -> Iterator[Frame]:
        if self._on_progress is None:
            yield from parse_pcap(self._data, self._name)
            return
        read_bytes = 0
        for frame in parse_pcap(self._data, self._name):
            yield frame
            read_bytes += len(frame.data) + 16
            if frame.number % _REPORT_EVERY_FRAMES == 0:
                self._on_progress(read_bytes)
        self._on_progress(len(self._data))


@contextmanager
def open_capture(path: Path, on_progress: Callable[[int], None] | None = None) -> Iterator[Capture]:
    """Map a capture into memory for as long as it is being judged.

    Args:
        path: the file.
        on_progress: told now and then, while frames are read, how many bytes are behind.
    Raises:
        CaptureError: the file is missing, unreadable, empty or no Ethernet pcap. A record that is
            cut raises while frames are read.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            data: Buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except OSError as error:
        raise CaptureError(f"cannot read {path}", why=error.strerror or str(error)) from error
    try:
        parse_pcap_header(data, path.name)
        digest = hashlib.sha256(data).hexdigest()
        yield Capture(path.name, digest, size, _PcapFrames(data, path.name, on_progress))
    finally:
        if isinstance(data, mmap.mmap):
            data.close()
