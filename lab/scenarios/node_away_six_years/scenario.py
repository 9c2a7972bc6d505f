"""node3 is off for six years; its certificate has ended."""

import json

from lab.deadline import wait_until
from lab.passing_time import add_months, now, pass_time
from lab.stage import Stage

TITLE = "A node that was off for six years is refused, told why, and enrols anew"
NODES = 3


async def play(stage: Stage) -> None:
    stage.touched.add("node3")
    begun = await now(stage)
    await stage.power_off("node3")
    moments = [add_months(begun, months) for months in range(3, 73, 3)]
    await pass_time(stage, moments, without=["node3"])
    await stage.power_on("node3")
    if stage.control_plane.asks_for_tokens:
        await _await_told(stage)
        await stage.control_plane.take_in("node3")
    await stage.await_well(seconds=120)


async def _await_told(stage: Stage) -> None:
    """node3 says what it needs."""
    last = ""

    async def told() -> bool:
        nonlocal last
        done = await stage.running.remote("node3").run("geneveil status -o json")
        last = done.stdout or done.stderr
        try:
            values = json.loads(done.stdout)["health"]
        except (ValueError, KeyError):
            return False
        return any(
            value["code"] == "certificate-expired" and "operator token" in value["remedy"]
            for value in values
        )

    await wait_until(
        told,
        "node3 to say that its certificate has ended and what it needs",
        60,
        explain=lambda: last[:600],
        poll_seconds=0.5,
    )
