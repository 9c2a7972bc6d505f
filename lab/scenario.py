"""Plays one scenario: boots its cluster, hands it over, checks the rules, keeps the evidence.

A scenario is a folder in `lab/scenarios/`: README.md (topology, steps, what must come out) and
`scenario.py` with `NODES`, `TITLE` and `async def play(stage)`. It raises LabError, or fails an
assertion of its own, when something is not as its README says.
"""

import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from geneveil.model.errors import ConfigError
from lab.bringup import Running, bring_up
from lab.errors import LabError
from lab.lifecycle import LabConfig, Programs, lay_out, supervised
from lab.shared_folder import plan_cluster
from lab.stage import Outcome, Stage

FOLDER = Path(__file__).with_name("scenarios")


@dataclass(frozen=True)
class Scenario:
    """One situation."""

    name: str
    title: str
    nodes: int
    encapsulation: str
    play: Callable[[Stage], Awaitable[None]]


def scenario_names() -> list[str]:
    """Every folder with a scenario, sorted."""
    return sorted(path.parent.name for path in FOLDER.glob("*/scenario.py"))


def load_scenario(name: str) -> Scenario:
    """Find a scenario by its folder's name.

    Raises:
        ConfigError: there is none; names those that are.
    """
    if name not in scenario_names():
        raise ConfigError(f"no scenario {name!r}", remedy=f"one of {', '.join(scenario_names())}")
    module = importlib.import_module(f"lab.scenarios.{name}.scenario")
    return Scenario(
        name, module.TITLE, module.NODES, getattr(module, "ENCAPSULATION", "Auto"), module.play
    )


async def play_scenario(
    scenario: Scenario,
    programs: Programs,
    transport: str,
    data_dir: Path,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Boot, play, finish.

    Raises:
        LabError: the scenario did not go as its README says; says where the evidence is.
    """
    name = f"s-{scenario.name}"[:24]
    config = LabConfig(name, scenario.nodes, True, scenario.encapsulation, data_dir=data_dir)
    layout = lay_out(config, programs, plan_cluster(True, scenario.encapsulation), transport)
    say(scenario.title)
    async with supervised(layout) as lab:
        running = Running(layout, lab)
        stage = Stage(running)
        try:
            await bring_up(running, lambda text: None)
            await stage.start_traffic()
            say("the cluster is up, traffic flows")
            await scenario.play(stage)
            outcome = await stage.finish()
        except (LabError, AssertionError) as error:
            raise LabError(
                f"scenario {scenario.name}",
                why=str(error) or repr(error),
                remedy=f"logs and capture: {layout.data_dir}",
            ) from error
        finally:
            running.close()
    if outcome.broken_rules:
        raise LabError(
            f"scenario {scenario.name}",
            why="; ".join(outcome.broken_rules),
            remedy=f"logs and capture: {layout.data_dir}",
        )
    for text in outcome.notes:
        say(text)
    return outcome
