"""What the programs ask of a reader of captures."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from geneveil.model.frames import Capture


class CaptureReader(Protocol):
    """Opens a capture for as long as it is being judged."""

    def __call__(
        self, path: Path, on_progress: Callable[[int], None] | None = None
    ) -> AbstractContextManager[Capture]: ...
