"""Moves the guests' clocks. Each guest has a clock of its own, and so has no idea that it is a lab.

A step is made on all guests at once, as exactly as SSH allows: some milliseconds apart.
"""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

from lab.bringup import Running


async def read_clock(running: Running, guest: str) -> datetime:
    """A guest's own time."""
    text = await running.remote(guest).check("date +%s")
    return datetime.fromtimestamp(int(text), UTC)


async def set_clocks(
    running: Running, moment: datetime, guests: Iterable[str] | None = None
) -> None:
    """Set the clocks of these guests, or of all."""
    chosen = tuple(guests) if guests is not None else running.layout.topology.guests
    command = f"date -s @{int(moment.timestamp())}"
    await asyncio.gather(*(running.remote(guest).check(command) for guest in chosen))
