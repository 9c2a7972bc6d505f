"""What can go wrong while the lab is being built, and how it is said."""

from pathlib import Path

from geneveil.model.errors import Culprit, GeneveilError
from lab.build.diagnosis import meaning_of

MIB = 1024 * 1024
_SHOWN_LINES = 12


class BuildError(GeneveilError):
    """An artifact could not be built; nothing half-made is left in the cache."""

    culprit = Culprit.LAB


class HostError(BuildError):
    """This machine lacks something that the lab needs, or does not allow it."""

    exit_status = 2


class StoppedError(BuildError):
    """The build was told to stop; never shown, since whoever stopped it knows."""


class StepFailedError(BuildError):
    """A program that a build ran ended with an error.

    Args:
        task: what was being done, in words: "building the kernel: compile".
        program: the name of the program.
        ended: how it ended ("status 2", "signal 9").
        log: where all of its output is.
        lines: its last lines of output; the end of them is shown, and what they usually mean.
    """

    def __init__(self, task: str, program: str, ended: str, log: Path, lines: list[str]) -> None:
        self.log = log
        self.lines = lines
        shown = "".join(f"\n    {line}" for line in lines[-_SHOWN_LINES:])
        super().__init__(
            f"{task} failed",
            why=f"{program} ended with {ended}{shown}\n  log: {log}\n ",
            remedy=meaning_of(lines) or "the log has all of its output",
        )


class NoSpaceError(BuildError):
    """The disk is too full to build, or became so while building.

    Args:
        what: what is built, in words.
        folder: where.
        needed_mib: free disk that the build needs at its peak.
        free_mib: free disk now.
        meanwhile: it was enough at first, and ran full while building.
    """

    def __init__(
        self, what: str, folder: Path, needed_mib: int, free_mib: int, *, meanwhile: bool = False
    ) -> None:
        self.needed_mib = needed_mib
        self.free_mib = free_mib
        happened = "the disk ran full while building" if meanwhile else "no disk space for"
        there = "in all" if meanwhile else f"and has {free_mib} MiB"
        super().__init__(
            f"{happened} {what}",
            why=f"{folder} needs {needed_mib} MiB free {there}",
            remedy="make room there, or set GENEVEIL_CACHE to a folder on a larger disk",
        )
