"""Waiting for a condition, with a deadline and a message that says what was waited for."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

from lab.errors import LabError

_POLL_SECONDS = 0.03
PATIENCE = "GENEVEIL_PATIENCE"
"""A variable of the environment: how many times as long as they should things may take. Where it is
judged whether something happens, and not how fast, a busy machine is no reason to fail."""


def patience() -> float:
    """1 where nothing is said."""
    return float(os.environ.get(PATIENCE) or 1)


async def wait_until(
    condition: Callable[[], Awaitable[bool]],
    what: str,
    seconds: float,
    *,
    explain: Callable[[], str] = lambda: "",
    poll_seconds: float = _POLL_SECONDS,
) -> float:
    """Return the seconds that it took until `condition` held.

    Args:
        seconds: within which it is to hold, on a machine that has nothing else to do; see PATIENCE.
    Raises:
        LabError: it did not hold in time; names `what` and adds what `explain` says.
    """
    seconds *= patience()
    begun = time.monotonic()
    while not await condition():
        if time.monotonic() - begun > seconds:
            raise LabError(f"waited {seconds:g} s in vain for {what}", why=explain())
        await asyncio.sleep(poll_seconds)
    return time.monotonic() - begun
