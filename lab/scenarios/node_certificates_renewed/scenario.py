"""4 years and 7 months pass."""

from datetime import timedelta

from lab.passing_time import add_months, moments_until, now, pass_time
from lab.stage import Stage

TITLE = "4 years and 7 months pass: every node renews its certificate"
NODES = 3


async def play(stage: Stage) -> None:
    begun = await now(stage)
    first = await serials(stage)
    due = add_months(begun, 54)
    await pass_time(stage, [due - timedelta(days=1)])
    assert await serials(stage) == first, "a node renewed before 54 months had passed"
    changed: set[str] = set()
    for moment in moments_until(due, due + timedelta(days=16), timedelta(days=2)):
        await pass_time(stage, [moment])
        found = await serials(stage)
        renewed = {name for name in found if found[name] != first[name]} - changed
        if renewed:
            stage.note(
                f"{(moment - due).days} days after the due date: {', '.join(sorted(renewed))}"
            )
        changed |= renewed
    await pass_time(stage, [add_months(begun, 55)])
    last = await serials(stage)
    same = [name for name in first if first[name] == last[name]]
    assert not same, f"still with the old certificate: {', '.join(same)}"


async def serials(stage: Stage) -> dict[str, str]:
    """The serial of every node's certificate in use."""
    return {
        node.name: (await stage.status(node.name))["certificate"]["serial"] for node in stage.nodes
    }
