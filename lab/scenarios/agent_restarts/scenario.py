"""The agent ends in every way there is; nothing of what it made changes."""

import asyncio

from lab.daemons import signal_agent, start_agent
from lab.fault import Fault, Keeps
from lab.stage import Stage

TITLE = "The agent is stopped, killed, restarted in a loop, started twice"
NODES = 3
_LOOPS = 5
_AWAY_SECONDS = 3.0


async def _terminate(stage: Stage) -> None:
    await signal_agent(stage, "node1", "TERM")


async def _kill(stage: Stage) -> None:
    await signal_agent(stage, "node1", "KILL")


async def _start(stage: Stage) -> None:
    await start_agent(stage, "node1")


async def _loop(stage: Stage) -> None:
    for index in range(_LOOPS):
        await signal_agent(stage, "node1", "KILL" if index % 2 else "TERM")
        await start_agent(stage, "node1")
        # Long enough to have read everything and begun to act, or not even that.
        await asyncio.sleep(0.5 * index)
        await stage.running.remote("node1").check("test -s /run/geneveil/agent.lock")


async def _start_twice(stage: Stage) -> None:
    remote = stage.running.remote("node1")
    done = await remote.run("geneveil agent --config /etc/geneveil/agent.yaml", seconds=20)
    assert done.status != 0, "a second agent was started"
    assert "agent" in done.stderr, done.stderr


FAULTS = (
    Fault(
        "agent_terminated",
        "agent: SIGTERM, away for 3 s, started",
        _terminate,
        _start,
        hold_seconds=_AWAY_SECONDS,
        keeps=Keeps.ALL,
    ),
    Fault(
        "agent_killed",
        "agent: SIGKILL, away for 3 s, started",
        _kill,
        _start,
        hold_seconds=_AWAY_SECONDS,
        keeps=Keeps.ALL,
        is_short=True,
    ),
    Fault("agent_restarted_in_a_loop", "agent: ended and started 5 times", _loop, keeps=Keeps.ALL),
    Fault("agent_started_twice", "agent: a second one is started", _start_twice, keeps=Keeps.ALL),
)
