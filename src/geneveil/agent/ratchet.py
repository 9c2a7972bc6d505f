"""Whether this node encrypts. It turns one way only. Pure.

Off is the default. The first time that a node is told `mode: Full` this is sealed in its state
directory, and from then on nothing that is written into a file switches encryption off: a later
Disabled is refused, encryption goes on, and the node says Degraded until the file is put right.
A seal that cannot be read counts as a seal: to err towards encryption costs an outage at worst.
"""

from dataclasses import dataclass
from enum import Enum

from geneveil.model.cluster import Mode
from geneveil.model.health import Finding, Severity


class Seal(Enum):
    """What the state directory says."""

    ABSENT = "absent"
    SEALED = "sealed"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class ModeVerdict:
    """The mode to run in, whether it must be sealed first, and what is wrong about it."""

    mode: Mode
    must_seal: bool
    findings: tuple[Finding, ...] = ()


def judge_mode(configured: Mode, seal: Seal) -> ModeVerdict:
    """Decide the mode from the file and the seal.

    Fails closed: yes; see the top of this file.
    """
    if configured is Mode.FULL:
        return ModeVerdict(Mode.FULL, must_seal=seal is Seal.ABSENT)
    if seal is Seal.ABSENT:
        return ModeVerdict(Mode.DISABLED, must_seal=False)
    why = "was sealed" if seal is Seal.SEALED else "may have been sealed (the seal is unreadable)"
    finding = Finding(
        code="mode-refused",
        severity=Severity.ERROR,
        subject="agent configuration",
        what=f"mode: Disabled is refused, because Full {why} on this node; it keeps encrypting",
        remedy="write mode: Full again; IPsec cannot be switched off once it was on",
    )
    return ModeVerdict(Mode.FULL, must_seal=False, findings=(finding,))
