"""What can be wrong with a capture file."""

from typing import ClassVar

from geneveil.model.errors import Culprit, GeneveilError


class CaptureError(GeneveilError):
    """A capture can't be read whole; names the file and, within it, frame and offset."""

    culprit: ClassVar[Culprit] = Culprit.LAB
    exit_status: ClassVar[int] = 2
