"""What scenarios cost, as a table that goes into docs/."""

from collections.abc import Sequence
from dataclasses import dataclass

from lab.scenario import Scenario
from lab.stage import Outcome


@dataclass(frozen=True)
class Played:
    """One scenario that went as it must."""

    scenario: Scenario
    outcome: Outcome
    seconds: float


def results_table(played: Sequence[Played]) -> str:
    """A Markdown table, one row a scenario."""
    lines = [
        "| scenario | Geneve frames in clear | UDP packets sent | lost, untouched pairs "
        "| lost, touched pairs | TCP connections broken | longest TCP silence | took |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in played:
        losses = one.outcome.losses
        untouched = one.outcome.untouched
        touched = [loss for loss in losses if loss not in untouched]
        silence = max((loss.longest_silence_seconds for loss in untouched), default=0.0)
        broken = sum(loss.tcp_connects > 1 or loss.tcp_breaks > 0 for loss in untouched)
        lost_touched = sum(loss.lost_packets for loss in touched) if touched else "–"
        lines.append(
            f"| {one.scenario.name} | {one.outcome.clear_frames} "
            f"| {sum(loss.sent_packets for loss in losses)} "
            f"| {sum(loss.lost_packets for loss in untouched)} | {lost_touched} "
            f"| {broken} | {silence:.2f} s | {one.seconds:.0f} s |"
        )
    return "\n".join(lines) + "\n"
