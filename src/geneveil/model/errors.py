"""One root for every error that geneveil raises on purpose.

Rule of this file: an error names what happened, to what, why, and what to do about it; it says
whose fault it is and whether trying again can help. No traceback of such an error reaches a user:
the command line prints `render()` and exits with `exit_status`.
"""

from enum import Enum
from typing import ClassVar


class Culprit(Enum):
    """Who has to act: the word that a person looks for first in a log."""

    CONFIGURATION = "configuration"
    PEER = "peer"
    DAEMON = "daemon"
    KERNEL = "kernel"
    OPERATOR = "operator"
    LAB = "lab"


class GeneveilError(Exception):
    """Root of all errors.

    Args:
        what: what happened, and to what.
        why: the reason, as far as it is known; may be empty.
        remedy: what a person should do; may be empty.
    """

    culprit: ClassVar[Culprit] = Culprit.CONFIGURATION
    retryable: ClassVar[bool] = False
    exit_status: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str = "", remedy: str = "") -> None:
        self.what = what
        self.why = why
        self.remedy = remedy
        super().__init__(self.render())

    def render(self) -> str:
        """One line for a person: what, why, remedy."""
        text = self.what
        if self.why:
            text += f": {self.why}"
        if self.remedy:
            text += f" ({self.remedy})"
        return text


class ConfigError(GeneveilError):
    """Something that a person wrote is wrong; nothing was changed."""

    culprit = Culprit.CONFIGURATION
    exit_status = 2


class RefusedError(GeneveilError):
    """A request was understood and refused. `reason` is a stable word for machines and logs."""

    culprit = Culprit.OPERATOR

    def __init__(self, reason: str, what: str, *, why: str = "", remedy: str = "") -> None:
        self.reason = reason
        super().__init__(what, why=why, remedy=remedy)


class TrustError(GeneveilError):
    """A key, certificate or trust bundle is missing, unreadable or contradicts another."""

    culprit = Culprit.CONFIGURATION


class PeerError(GeneveilError):
    """Another node said or did something wrong."""

    culprit = Culprit.PEER
    retryable = True


class DaemonError(GeneveilError):
    """charon, Open vSwitch or another daemon is missing, silent or answered with an error."""

    culprit = Culprit.DAEMON
    retryable = True


class SilentDaemonError(DaemonError):
    """A daemon is there and gave no answer in time: whoever asks again may wait as long again."""


class KernelError(GeneveilError):
    """The kernel refused a request or lacks something that is needed."""

    culprit = Culprit.KERNEL
    retryable = True


class OperatorUnreachableError(GeneveilError):
    """The operator did not answer; what is in place stays in place and the caller tries again.

    Args:
        retry_after_seconds: how long the operator asked to be left alone; 0 if it did not.
    """

    culprit = Culprit.OPERATOR
    retryable = True

    def __init__(
        self, what: str, *, why: str = "", remedy: str = "", retry_after_seconds: float = 0.0
    ) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(what, why=why, remedy=remedy)
