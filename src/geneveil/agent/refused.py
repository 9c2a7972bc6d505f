"""ESP that the kernel refused: played back, or not sealed with the SA's key. Pure.

The kernel counts both for each SA (`struct xfrm_stats`, linux/xfrm.h), before anything is decrypted
or handed on: nothing came in. Who is on the underlay may go on trying, so it is said.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from geneveil.model.connection import Connection
from geneveil.model.health import Finding, Severity
from geneveil.model.xfrm import XfrmState

ESP_PROTOCOL = 50

FEW_PACKETS = 5
"""Fewer played back are not said: a network doubles a packet now and then by itself."""

QUIET_SECONDS = 60.0
"""A finding ends when nothing was refused for this long."""

StateKey = tuple[str, int]


@dataclass(frozen=True)
class Refused:
    """What has been refused since it began.

    Attributes:
        read: of each SA (destination, SPI), the kernel's counts as last read: replayed, failed.
        replayed_packets, failed_packets: since it was last quiet.
        replayed_at_seconds, failed_at_seconds: when that last grew.
    """

    read: Mapping[StateKey, tuple[int, int]] | None = None
    replayed_packets: int = 0
    failed_packets: int = 0
    replayed_at_seconds: float = 0.0
    failed_at_seconds: float = 0.0


def judge_refused(
    states: Iterable[XfrmState] | None,
    connections: Iterable[Connection],
    before: Refused,
    now_seconds: float,
) -> tuple[Refused, list[Finding]]:
    """Compare the kernel's counts for what comes in from our peers with the turn before.

    Args:
        states: None if they could not be read: then nothing is known to have changed.
    """
    after = before
    if states is not None:
        ends = {(c.remote_ip, c.local_ip) for c in connections}
        read = {
            (state.destination, state.spi): (state.replayed_packets, state.failed_packets)
            for state in states
            if state.protocol == ESP_PROTOCOL and (state.source, state.destination) in ends
        }
        after = _grown(before, read, now_seconds)
    return after, _findings(after)


def _grown(before: Refused, read: dict[StateKey, tuple[int, int]], now_seconds: float) -> Refused:
    after = replace(before, read=read)
    if now_seconds - after.replayed_at_seconds >= QUIET_SECONDS:
        after = replace(after, replayed_packets=0)
    if now_seconds - after.failed_at_seconds >= QUIET_SECONDS:
        after = replace(after, failed_packets=0)
    if before.read is None:
        return after  # an agent that starts does not know when what it finds was counted
    more = [
        tuple(new - old for new, old in zip(counts, before.read.get(key, (0, 0)), strict=True))
        for key, counts in read.items()
    ]
    if replayed := sum(max(0, pair[0]) for pair in more):
        total = after.replayed_packets + replayed
        after = replace(after, replayed_packets=total, replayed_at_seconds=now_seconds)
    if failed := sum(max(0, pair[1]) for pair in more):
        total = after.failed_packets + failed
        after = replace(after, failed_packets=total, failed_at_seconds=now_seconds)
    return after


def _findings(refused: Refused) -> list[Finding]:
    findings = []
    if refused.replayed_packets >= FEW_PACKETS:
        findings.append(
            Finding(
                "esp-replayed",
                Severity.INFO,
                "esp",
                f"{refused.replayed_packets} ESP packets came twice, or far too late, and were "
                "dropped",
                "nothing came in; if it goes on, look for a network that doubles or holds back "
                "packets, or for somebody on the underlay who plays them back",
            )
        )
    if refused.failed_packets:
        findings.append(
            Finding(
                "esp-forged",
                Severity.WARNING,
                "esp",
                f"{refused.failed_packets} ESP packets were not sealed with the SA's key and were "
                "dropped",
                "nothing came in; look for somebody on the underlay who sends ESP in a node's "
                "name, or for hardware that damages packets",
            )
        )
    return findings
