"""One node's clock is wrong, by a day to ten years, in both directions, and set right again; its
charon or its agent dies meanwhile."""

from dataclasses import replace
from datetime import timedelta

from lab.clocks import read_clock, set_clocks
from lab.daemons import renew_agent, signal_agent, signal_charon
from lab.fault import Belonging, Fault, Keeps, Part, Step, codes
from lab.scenarios.charon_dies.scenario import await_no_orphans
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = "One node's clock is a day, a year, ten years off, and its daemons die meanwhile"
NODES = 3
_HOLD_SECONDS = 7.0
_EXPIRED = "certificate-expired"
_NOT_YET = "certificate-not-yet-valid"


def _set_off(days: int) -> Step:
    async def step(stage: Stage) -> None:
        right = await read_clock(stage.running, CENTRAL)
        await set_clocks(stage.running, right + timedelta(days=days), [stage.at("node1")])

    return step


async def _set_right(stage: Stage) -> None:
    right = await read_clock(stage.running, CENTRAL)
    await set_clocks(stage.running, right, [stage.at("node1")])


def _charon_dies_while(days: int) -> Step:
    async def step(stage: Stage) -> None:
        await _set_off(days)(stage)
        await signal_charon(stage, "node1", "KILL")

    return step


def _agent_restarts_while(days: int) -> Step:
    async def step(stage: Stage) -> None:
        await _set_off(days)(stage)
        await signal_agent(stage, "node1", "KILL")
        await renew_agent(stage, "node1")

    return step


async def _set_right_and_renew(stage: Stage) -> None:
    await _set_right(stage)
    await await_no_orphans(stage, "node1")


def _fault(name: str, title: str, days: int, code: str = "", *, is_short: bool = False) -> Fault:
    return Fault(
        name,
        f"time: one node's clock {title}",
        _set_off(days),
        _set_right,
        hold_seconds=_HOLD_SECONDS,
        says={"node1": frozenset({code})} if code else {},
        keeps=Keeps.ALL,
        is_short=is_short,
        claims=frozenset({Part.CLOCK}),
    )


def _charon_fault(name: str, title: str, days: int, code: str) -> Fault:
    return Fault(
        name,
        f"time: charon killed while the node's certificate is {title} by its clock",
        _charon_dies_while(days),
        _set_right_and_renew,
        touches=("node1",),
        hold_seconds=_HOLD_SECONDS,
        says=codes(["node1"], code),
        most_outage_seconds=1.0,
        takes=frozenset({Belonging.CHARON}),
        claims=frozenset({Part.CLOCK, Part.CHARON}),
    )


def _agent_fault(name: str, title: str, days: int, code: str) -> Fault:
    return Fault(
        name,
        f"time: the agent restarted while the node's certificate is {title} by its clock",
        _agent_restarts_while(days),
        _set_right,
        hold_seconds=_HOLD_SECONDS,
        says=codes(["node1"], code),
        keeps=Keeps.ALL,
        claims=frozenset({Part.CLOCK, Part.AGENT}),
    )


FAULTS = (
    _fault("clock_a_day_ahead", "a day ahead", 1),
    _fault("clock_a_day_behind", "a day behind", -1, _NOT_YET),
    _fault("clock_a_year_ahead", "a year ahead", 365),
    _fault("clock_a_year_behind", "a year behind", -365, _NOT_YET),
    _fault("clock_ten_years_ahead", "ten years ahead", 3653, _EXPIRED, is_short=True),
    _fault("clock_ten_years_behind", "ten years behind", -3653, _NOT_YET),
    _charon_fault("charon_killed_while_expired", "expired", 3653, _EXPIRED),
    _charon_fault("charon_killed_while_not_yet_valid", "not yet valid", -365, _NOT_YET),
    _agent_fault("agent_restarted_while_expired", "expired", 3653, _EXPIRED),
    _agent_fault("agent_restarted_while_not_yet_valid", "not yet valid", -365, _NOT_YET),
)


def _on_kubernetes(fault: Fault) -> Fault:
    """There the node asks for another certificate and gets it, a few times a day: the token of its
    agent's Pod proves it. Nothing is lost by that, and its peers' own pairs stay as they are."""
    if not fault.says or fault.touches:
        return fault
    return replace(fault, keeps=Keeps.UNTOUCHED, renews=("node1",))


FAULTS_ON_KUBERNETES = tuple(map(_on_kubernetes, FAULTS))
