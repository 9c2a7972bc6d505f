"""Plays one scenario: boots its cluster, hands it over, checks the rules, keeps the evidence.

A scenario is a folder in `lab/scenarios/`: README.md (topology, steps, what must come out) and
`scenario.py` with `NODES`, `TITLE` and `async def play(stage)`. It raises LabError, or fails an
assertion of its own, when something is not as its README says. A situation of faults has `FAULTS`
instead of `play`; see `lab.fault`. Several of those are played on one cluster, unless one says
`SHARES_LAB = False`. `IPV6 = True` asks for an IPv6 underlay and pods of both families,
`BY_SYSTEMD = True` for nodes that systemd boots, `UDP_A_SECOND` and `TICK_SECONDS` for other
traffic than usual.

All are played with either control plane (`lab.control_plane`), but for those that say why not:
`NOT_ON_KUBERNETES = "…"`, `NOT_STANDALONE = "…"`. `FAULTS_ON_KUBERNETES` is for what must come out
otherwise there.
"""

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from geneveil.model.errors import ConfigError
from lab.bringup import Running, bring_up
from lab.control_plane import KUBERNETES, STANDALONE
from lab.errors import LabError
from lab.fault import UDP_A_SECOND, Fault
from lab.fault_play import FaultPlayer
from lab.fault_rules import FaultOutcome
from lab.last_word import check_last_word
from lab.lifecycle import LabConfig, Programs, lay_out, supervised
from lab.shared_folder import plan_cluster
from lab.stage import Outcome, Stage
from lab.topology import IPV6_SUBNETS, Subnets
from lab.traffic import TICK_SECONDS
from lab.traffic import UDP_A_SECOND as PLAYED_UDP_A_SECOND

FOLDER = Path(__file__).with_name("scenarios")


Say = Callable[[str], None]
OnFault = Callable[[str, FaultOutcome], None]


@dataclass(frozen=True)
class Scenario:
    """One situation: something to play, or faults."""

    name: str
    title: str
    nodes: int
    encapsulation: str
    play: Callable[[Stage], Awaitable[None]] | None
    faults: tuple[Fault, ...] = ()
    shares_lab: bool = False
    ipv6: bool = False
    udp_a_second: int = PLAYED_UDP_A_SECOND
    tick_seconds: float = TICK_SECONDS
    by_systemd: bool = False
    control_plane: str = STANDALONE

    @property
    def cluster(self) -> tuple[int, str, bool, bool]:
        """What kind of cluster it is played on."""
        return self.nodes, self.encapsulation, self.ipv6, self.by_systemd


def scenario_names() -> list[str]:
    """Every folder with a scenario, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("*/scenario.py"))


def playable_names(control_plane: str) -> tuple[list[str], dict[str, str]]:
    """The scenarios that are played with a control plane, and why the others are not."""
    names = scenario_names()
    why = {name: _why_not(name, control_plane) for name in names}
    left_out = {name: text for name, text in why.items() if text}
    return [name for name in names if name not in left_out], left_out


def _why_not(name: str, control_plane: str) -> str:
    module = importlib.import_module(f"lab.scenarios.{name}.scenario")
    which = "NOT_ON_KUBERNETES" if control_plane == KUBERNETES else "NOT_STANDALONE"
    return str(getattr(module, which, ""))


def load_scenario(name: str, control_plane: str = STANDALONE) -> Scenario:
    """Find a scenario by its folder's name.

    Raises:
        ConfigError: there is none, and names those that are; or not with this control plane.
    """
    if name not in scenario_names():
        raise ConfigError(f"no scenario {name!r}", remedy=f"one of {', '.join(scenario_names())}")
    module = importlib.import_module(f"lab.scenarios.{name}.scenario")
    if why := _why_not(name, control_plane):
        where = "on Kubernetes" if control_plane == KUBERNETES else "without Kubernetes"
        raise ConfigError(f"{name} is not played {where}", why=why)
    faults = tuple(getattr(module, "FAULTS", ()))
    if control_plane == KUBERNETES:
        faults = tuple(getattr(module, "FAULTS_ON_KUBERNETES", faults))
    return Scenario(
        name,
        module.TITLE,
        module.NODES,
        getattr(module, "ENCAPSULATION", "Auto"),
        None if faults else module.play,
        faults,
        bool(faults) and getattr(module, "SHARES_LAB", True),
        getattr(module, "IPV6", False),
        getattr(module, "UDP_A_SECOND", PLAYED_UDP_A_SECOND),
        getattr(module, "TICK_SECONDS", TICK_SECONDS),
        getattr(module, "BY_SYSTEMD", False),
        control_plane,
    )


def only_faults(scenarios: Sequence[Scenario], names: Sequence[str]) -> list[Scenario]:
    """The situations that have faults of these names, and no others of them.

    Raises:
        ConfigError: there is none of a name, among these scenarios.
    """
    chosen = [
        replace(scenario, faults=faults)
        for scenario in scenarios
        if (faults := tuple(fault for fault in scenario.faults if fault.name in names))
    ]
    known = {fault.name for scenario in chosen for fault in scenario.faults}
    if unknown := sorted(set(names) - known):
        raise ConfigError(
            f"no fault {', '.join(unknown)} in {', '.join(each.name for each in scenarios)}",
            remedy="`python -m lab scenario` lists all",
        )
    return chosen


def group_scenarios(scenarios: Sequence[Scenario]) -> list[list[Scenario]]:
    """Which are played on one cluster: faults on the same kind of it; all others alone."""
    groups: list[list[Scenario]] = []
    shared: dict[tuple[int, str, bool, bool], list[Scenario]] = {}
    for scenario in scenarios:
        if not scenario.shares_lab:
            groups.append([scenario])
        elif scenario.cluster in shared:
            shared[scenario.cluster].append(scenario)
        else:
            shared[scenario.cluster] = [scenario]
            groups.append(shared[scenario.cluster])
    return groups


async def play_scenario(
    scenario: Scenario,
    programs: Programs,
    transport: str,
    data_dir: Path,
    say: Say = lambda text: None,
) -> Outcome:
    """Boot, play, finish.

    Raises:
        LabError: the scenario did not go as its README says; says where the evidence is.
    """
    if scenario.play is None:
        return await play_faults([scenario], programs, transport, data_dir, say)
    say(scenario.title)
    async with staged([scenario], programs, transport, data_dir) as stage:
        await stage.start_traffic(scenario.udp_a_second, scenario.tick_seconds)
        say("the cluster is up, traffic flows")
        await scenario.play(stage)
        outcome = await stage.finish()
    _refuse_broken(scenario.name, outcome.broken_rules, stage)
    for text in outcome.notes:
        say(text)
    return outcome


async def play_faults(
    scenarios: Sequence[Scenario],
    programs: Programs,
    transport: str,
    data_dir: Path,
    say: Say = lambda text: None,
    choose: Callable[[Fault], bool] = lambda fault: True,
    on_fault: OnFault = lambda situation, outcome: None,
) -> Outcome:
    """Play the faults of several situations in a row on one cluster.

    Args:
        choose: asked before each whether it is still to be played.
        on_fault: told of each fault, also of one that broke a rule; the others are still played.
    Raises:
        LabError: a rule was broken, or the cluster did not come back; says where the evidence is.
    """
    broken: list[str] = []
    async with staged(scenarios, programs, transport, data_dir) as stage:
        await stage.start_traffic(UDP_A_SECOND)
        say(f"a cluster of {scenarios[0].nodes} nodes is up, traffic flows")
        player = FaultPlayer(stage, say)
        for scenario in scenarios:
            for fault in filter(choose, scenario.faults):
                outcome = await player.play(fault)
                on_fault(scenario.name, outcome)
                broken += [f"{fault.name}: {text}" for text in outcome.broken]
        # Losses were judged fault by fault; in the end it is about frames in clear alone.
        stage.touched.update(node.name for node in stage.nodes)
        finished = await stage.finish()
    names = ", ".join(scenario.name for scenario in scenarios)
    _refuse_broken(names, (*broken, *finished.broken_rules), stage)
    return finished


@asynccontextmanager
async def staged(
    scenarios: Sequence[Scenario],
    programs: Programs,
    transport: str,
    data_dir: Path,
    name: str = "",
) -> AsyncIterator[Stage]:
    """A cluster with IPsec for a block; an error in the block says where the evidence is.

    Raises:
        LabError: once it is down: the witness saw Geneve in clear until then, or missed something.
    """
    first = scenarios[0]
    name = name or f"s-{first.name}"[:24]
    subnets = IPV6_SUBNETS if first.ipv6 else Subnets()
    on_kubernetes = first.control_plane == KUBERNETES
    config = LabConfig(
        name, first.nodes, True, first.encapsulation, subnets, data_dir, on_kubernetes
    )
    cluster = plan_cluster(
        True,
        first.encapsulation,
        ipv6=first.ipv6,
        kubernetes=on_kubernetes,
        by_systemd=first.by_systemd,
    )
    layout = lay_out(config, programs, cluster, transport)
    async with supervised(layout) as lab:
        running = Running(layout, lab)
        try:
            await bring_up(running, lambda text: None)
            stage = Stage(running)
            yield stage
        except (LabError, AssertionError) as error:
            raise LabError(
                f"scenario {', '.join(scenario.name for scenario in scenarios)}",
                why=str(error) or repr(error),
                remedy=f"logs and capture: {layout.data_dir}",
            ) from error
        finally:
            running.close()
    await asyncio.to_thread(check_last_word, stage)


def _refuse_broken(name: str, broken: Sequence[str], stage: Stage) -> None:
    if broken:
        raise LabError(
            f"scenario {name}",
            why="; ".join(broken),
            remedy=f"logs and capture: {stage.running.layout.data_dir}",
        )
