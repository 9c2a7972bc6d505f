"""Geneve that the guard goes on dropping although every pair is up. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from geneveil.model.guard import GuardCounter, ObservedGuard
from geneveil.model.health import Finding, Severity

GOES_ON_SECONDS = 3.0
"""A burst within this time may be from the moment in which a pair's SAs were replaced: the pair may
have been down and up again between two looks."""

QUIET_SECONDS = 60.0
"""A finding ends when its counter has stood still for this long."""

UNTAKEN_SECONDS = 30.0
"""Open vSwitch may be restarted: it takes nothing for some seconds then."""


@dataclass(frozen=True)
class Trouble:
    """What it means that a counter goes on growing.

    Attributes:
        goes_on_seconds: from its first growth to its latest, before it is told.
    """

    code: str
    what: str
    remedy: str
    goes_on_seconds: float = GOES_ON_SECONDS


_FIND_OUT = (
    "find out who sends it: a node without IPsec, a tunnel that is not in Open vSwitch, or a "
    "policy that somebody removed"
)
TROUBLES = {
    GuardCounter.CLEARTEXT_OUT: Trouble(
        "cleartext-out-grows",
        "Geneve in clear wanted to leave this node and was dropped, although every pair is up",
        _FIND_OUT,
    ),
    GuardCounter.CLEARTEXT_IN: Trouble(
        "cleartext-in-grows",
        "Geneve in clear wanted to come in and was dropped, although every pair is up",
        _FIND_OUT,
    ),
    GuardCounter.QUOTED: Trouble(
        "geneve-not-taken",
        "Geneve that comes in through IPsec finds nobody who takes it; pods here hear nothing of "
        "other nodes",
        "see that ovs-vswitchd runs and that `ovs-vsctl show` lists the tunnels, and that no "
        "firewall rejects their UDP port",
        UNTAKEN_SECONDS,
    ),
}


@dataclass(frozen=True)
class Growth:
    """One counter: its reading, and how much it grew since when it began to, while all was up."""

    packets: int
    grown_packets: int = 0
    first_seconds: float = 0.0
    latest_seconds: float = 0.0


def judge_cleartext(
    guard: ObservedGuard, before: Mapping[GuardCounter, Growth], all_up: bool, now_seconds: float
) -> tuple[dict[GuardCounter, Growth], list[Finding]]:
    """Compare the counters with the turn before.

    While a pair is down its Geneve is dropped, as it must be: that is a finding already. With all
    pairs up somebody sends past them. A counter that fell was made anew and counts from there.
    """
    growths: dict[GuardCounter, Growth] = {}
    findings = []
    for counter, trouble in TROUBLES.items():
        tally = guard.counters.get(counter)
        packets = tally.packets if tally else 0
        growth = before.get(counter, Growth(packets))
        if growth.grown_packets and now_seconds - growth.latest_seconds >= QUIET_SECONDS:
            growth = Growth(growth.packets)
        more = packets - growth.packets
        if more > 0 and all_up:
            first = growth.first_seconds if growth.grown_packets else now_seconds
            growth = Growth(packets, growth.grown_packets + more, first, now_seconds)
        growths[counter] = growth = replace(growth, packets=packets)
        if growth.latest_seconds - growth.first_seconds >= trouble.goes_on_seconds:
            findings.append(_finding(counter, growth.grown_packets, trouble))
    return growths, findings


def _finding(counter: GuardCounter, packets: int, trouble: Trouble) -> Finding:
    return Finding(
        trouble.code,
        Severity.WARNING,
        "guard",
        f"{counter.value} grew by {packets}: {trouble.what}",
        trouble.remedy,
    )
