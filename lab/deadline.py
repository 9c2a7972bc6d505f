"""Waiting for a condition, with a deadline and a message that says what was waited for."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from lab.errors import LabError

_POLL_SECONDS = 0.03


async def wait_until(
    condition: Callable[[], Awaitable[bool]],
    what: str,
    seconds: float,
    *,
    explain: Callable[[], str] = lambda: "",
    poll_seconds: float = _POLL_SECONDS,
) -> float:
    """Return the seconds that it took until `condition` held.

    Raises:
        LabError: it did not hold in time; names `what` and adds what `explain` says.
    """
    begun = time.monotonic()
    while not await condition():
        if time.monotonic() - begun > seconds:
            raise LabError(f"waited {seconds:g} s in vain for {what}", why=explain())
        await asyncio.sleep(poll_seconds)
    return time.monotonic() - begun
