"""A node without agent, guard and bolt: what "nothing in clear" is held against."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lab.bringup import Running
from lab.daemons import signal_agent, start_agent
from lab.stage import Stage

REMOVE_GUARDS = "nft delete table inet geneveil; nft delete table inet geneveil_bolt"
"""The second only once its owner has ended."""


@asynccontextmanager
async def opened(running: Running, node: str, opening: str = REMOVE_GUARDS) -> AsyncIterator[None]:
    """End the agent and open what it kept shut; it is started again at the end."""
    stage = Stage(running)
    await signal_agent(stage, node, "KILL")
    try:
        await running.remote(node).check(opening)
        yield
    finally:
        await start_agent(stage, node)
