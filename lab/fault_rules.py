"""What came of a fault, judged by the rules of `lab.fault_play`. Pure."""

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import permutations

from lab.fault import Fault
from lab.traffic import Mark, PairLoss

SHOWN_FROM_SECONDS = 5.0
SLACK_FROM_SECONDS = 30.0
"""With slack nothing that is given any time is given less than this: a busy machine is no fault.
What must lose nothing is given none, and so gets none."""
_CODE = re.compile(r"\bcode=(\S+)")
_REMEDY = re.compile(r'\bremedy=(?!"")\S')


@dataclass(frozen=True)
class FaultOutcome:
    """One fault and what came of it; `broken` is empty if all rules held.

    Attributes:
        nodes: those that were in the cluster before it and after it.
        udp_a_second: what a pair sent in fact.
    """

    fault: Fault
    nodes: tuple[str, ...]
    clear_frames: int
    losses: tuple[PairLoss, ...]
    recovery_seconds: float
    named: Mapping[str, list[str]]
    well_after_seconds: float
    broken: tuple[str, ...] = ()

    @property
    def touched(self) -> tuple[PairLoss, ...]:
        return tuple(a for a in self.losses if self.fault.touches_pair((a.source, a.destination)))

    @property
    def untouched(self) -> tuple[PairLoss, ...]:
        return tuple(a for a in self.losses if a not in self.touched)

    @property
    def outage_seconds(self) -> float:
        return max((loss.longest_outage_seconds for loss in self.touched), default=0.0)

    @property
    def udp_a_second(self) -> int:
        seconds = sum(loss.sending_seconds for loss in self.losses)
        return round(sum(loss.sent_packets for loss in self.losses) / seconds) if seconds else 0


def logged_codes(text: str) -> tuple[set[str], list[str]]:
    """Health codes that appeared in an agent's log, and lines of trouble without a remedy."""
    found: set[str] = set()
    unhelpful = []
    for line in text.splitlines():
        match = _CODE.search(line)
        if match is None or 'event="over: ' in line:
            continue
        found.add(match.group(1))
        if not line.startswith("level=info") and not _REMEDY.search(line):
            unhelpful.append(line)
    return found, unhelpful


def recovery_seconds(fault: Fault, losses: Iterable[PairLoss], moment: Mark) -> float:
    """From a moment until the touched pair that took longest had lost its last packet."""
    ends = [
        loss.lost_seconds[-1][1] - moment.seconds
        for loss in losses
        if loss.lost_seconds and fault.touches_pair((loss.source, loss.destination))
    ]
    return max([0.0, *ends])


def judge_losses(played: FaultOutcome, slack: float = 1.0) -> list[str]:
    """Rules 1 and 2.

    Args:
        slack: times are allowed to be so many times as long, and half a minute at least.
    """
    fault = played.fault
    broken = [f"{played.clear_frames} Geneve frames in clear"] if played.clear_frames else []
    broken += [f"untouched pair: {loss}" for loss in played.untouched if not loss.is_whole]
    broken += [f"sent hardly anything: {loss}" for loss in played.losses if loss.is_thin]
    measured = {(loss.source, loss.destination) for loss in played.losses}
    unmeasured = [pair for pair in permutations(played.nodes, 2) if pair not in measured]
    broken += [f"no traffic from {source} to {target}" for source, target in unmeasured]
    most = _with_slack(fault.most_outage_seconds, slack)
    if most is not None and played.outage_seconds > most:
        worst = max(played.touched, key=lambda loss: loss.longest_outage_seconds)
        broken.append(f"out for {played.outage_seconds:.2f} s, not at most {most:g} s: {worst}")
    most = _with_slack(fault.most_recovery_seconds, slack)
    if most is not None and played.recovery_seconds > most:
        broken.append(f"back after {played.recovery_seconds:.2f} s, not at most {most:g} s")
    return broken


def _with_slack(seconds: float | None, slack: float) -> float | None:
    if not seconds or slack <= 1:
        return seconds
    return max(seconds * slack, SLACK_FROM_SECONDS)


def judge_says(
    fault: Fault,
    logged: Mapping[str, AbstractSet[str]],
    shown: Mapping[str, AbstractSet[str]],
    unhelpful: Iterable[str],
) -> list[str]:
    """Rule 5; that it goes away again was seen by waiting for it."""
    broken = []
    for node, wanted in fault.says.items():
        if lacking := wanted - logged.get(node, set()):
            broken.append(f"{node}: its log does not name {', '.join(sorted(lacking))}")
        lacking = wanted - shown.get(node, set())
        if lacking and fault.hold_seconds >= SHOWN_FROM_SECONDS:
            broken.append(f"{node}: its status never showed {', '.join(sorted(lacking))}")
    return broken + [f"no remedy: {line}" for line in unhelpful]
