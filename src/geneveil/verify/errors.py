"""What can be wrong with evidence before anything is judged."""

from typing import ClassVar

from geneveil.model.errors import Culprit, GeneveilError


class EvidenceError(GeneveilError):
    """Evidence is missing, malformed or contradicts itself; nothing was judged.

    The message names the file or the field, as `phases[1].probes[3].mark`.
    """

    culprit: ClassVar[Culprit] = Culprit.LAB
    exit_status: ClassVar[int] = 2
