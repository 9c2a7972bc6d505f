"""Waiting for a roll-over of the certificate authority, phase by phase."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any

from lab.deadline import wait_until
from lab.passing_time import now, pass_time
from lab.stage import Stage
from lab.topology import CENTRAL

STEADY = "steady"
PHASE_SECONDS = 90.0


async def ca_status(stage: Stage) -> dict[str, Any]:
    """`geneveil operator ca status`."""
    found: dict[str, Any] = await stage.operator("ca", "status")
    return found


async def rotate(stage: Stage, wave: str = "") -> None:
    """`geneveil operator ca rotate`.

    Args:
        wave: over how long the nodes renew, such as `30s`; empty: as the cluster is configured.
    """
    words = ["geneveil", "operator", "ca", "rotate", *stage.control_plane.where]
    await stage.running.remote(CENTRAL).check([*words, *(["--wave", wave] if wave else [])])


async def await_phases(
    stage: Stage,
    *,
    until: str = STEADY,
    seconds: float = PHASE_SECONDS,
    seen_before: Iterable[str] = (),
    on_phase: Callable[[str], Awaitable[None]] | None = None,
) -> list[str]:
    """Wait until the roll-over stands in phase `until` and was in another before.

    Args:
        seen_before: what an earlier wait returned; a phase may have ended since.
        on_phase: called once at each phase that is seen for the first time.
    Returns:
        The phases seen, in order, those seen before first. A phase that lasts less than the look
        takes may be missing.
    """
    seen = list(seen_before)
    last = ""

    async def condition() -> bool:
        nonlocal last
        status = await ca_status(stage)
        last = str(status)
        phase = status["phase"]
        if not seen or seen[-1] != phase:
            seen.append(phase)
            if on_phase:
                await on_phase(phase)
        return phase == until and (len(seen) > 1 or phase != STEADY)

    await wait_until(
        condition,
        f"the roll-over to come to {until!r}",
        seconds,
        explain=lambda: f"seen {seen}; last: {last[:700]}",
        poll_seconds=0.5,
    )
    return seen


async def pass_waves(stage: Stage, without: Iterable[str] = ()) -> None:
    """A day and a quarter goes by, in which nodes renew in waves; the new authority signs."""
    begun = await now(stage)
    moments = [begun + timedelta(hours=hours) for hours in (6, 12, 18, 24, 30)]
    await pass_time(stage, moments, without=without)


async def issuers(stage: Stage) -> dict[str, str]:
    """The issuer of every node's certificate in use."""
    return {
        node.name: (await stage.status(node.name))["certificate"]["issuer"] for node in stage.nodes
    }
