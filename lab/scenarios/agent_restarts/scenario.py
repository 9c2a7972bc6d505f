"""The agent ends in every way there is; nothing of what it made changes."""

import asyncio

from lab.daemons import agent_pid, await_agent, renew_agent, signal_agent, start_agent
from lab.fault import Fault, Keeps, Part
from lab.stage import Stage

TITLE = "The agent is stopped, killed, restarted in a loop, started twice, upgraded"
NODES = 3
_LOOPS = 5
_AWAY_SECONDS = 3.0
_CLAIMS = frozenset({Part.AGENT})
_NEWER = "0.0.0-newer"
_NEWER_CODE = "/run/newer"
_COPY = (
    f"set -e; rm -rf {_NEWER_CODE}; mkdir {_NEWER_CODE}; cp -r /opt/geneveil/. {_NEWER_CODE}/; "
    f"rm -rf {_NEWER_CODE}/geneveil/__pycache__; "
    f"sed -i 's/^__version__ = .*/__version__ = \"{_NEWER}\"/' {_NEWER_CODE}/geneveil/__init__.py; "
    f"grep -q {_NEWER} {_NEWER_CODE}/geneveil/__init__.py"
)
_RUN_NEWER = f"env PYTHONPATH={_NEWER_CODE}:/opt/site python3 -P -m geneveil agent"


async def _terminate(stage: Stage) -> None:
    await signal_agent(stage, "node1", "TERM")


async def _kill(stage: Stage) -> None:
    await signal_agent(stage, "node1", "KILL")


async def _start(stage: Stage) -> None:
    await renew_agent(stage, "node1")


async def _loop(stage: Stage) -> None:
    pid = await agent_pid(stage, "node1")
    for index in range(_LOOPS):
        await signal_agent(stage, "node1", "KILL" if index % 2 else "TERM", pid)
        pid = await start_agent(stage, "node1")
        # Long enough to have read everything and begun to act, or not even that.
        await asyncio.sleep(0.5 * index)
    await await_agent(stage, "node1", pid)


async def _start_twice(stage: Stage) -> None:
    pid = await agent_pid(stage, "node1")
    remote = stage.remote("node1")
    done = await remote.run("geneveil agent --config /etc/geneveil/agent.yaml", seconds=20)
    assert done.status != 0, "a second agent was started"
    assert "agent" in done.stderr, done.stderr
    await await_agent(stage, "node1", pid)


async def _exchange(stage: Stage, command: str, version: str) -> None:
    """As an upgrade does: the old one is told to end, the new one starts."""
    await signal_agent(stage, "node1", "TERM")
    await renew_agent(stage, "node1", command)
    found = (await stage.status(stage.at("node1")))["version"]
    assert found == version, f"the agent's version is {found}, not {version}"


async def _upgrade(stage: Stage) -> None:
    await stage.remote("node1").check(_COPY)
    before = (await stage.status(stage.at("node1")))["version"]
    await _exchange(stage, _RUN_NEWER, _NEWER)
    await _exchange(stage, "geneveil agent", before)


FAULTS = (
    Fault(
        "agent_terminated",
        "agent: SIGTERM, away for 3 s, started",
        _terminate,
        _start,
        hold_seconds=_AWAY_SECONDS,
        keeps=Keeps.ALL,
        claims=_CLAIMS,
    ),
    Fault(
        "agent_killed",
        "agent: SIGKILL, away for 3 s, started",
        _kill,
        _start,
        hold_seconds=_AWAY_SECONDS,
        keeps=Keeps.ALL,
        is_short=True,
        claims=_CLAIMS,
    ),
    Fault(
        "agent_restarted_in_a_loop",
        "agent: ended and started 5 times",
        _loop,
        keeps=Keeps.ALL,
        claims=_CLAIMS,
    ),
    Fault(
        "agent_started_twice",
        "agent: a second one is started",
        _start_twice,
        keeps=Keeps.ALL,
        claims=_CLAIMS,
    ),
    Fault(
        "agent_upgraded",
        "agent: replaced by another version, and back",
        _upgrade,
        keeps=Keeps.ALL,
        claims=_CLAIMS,
    ),
)
