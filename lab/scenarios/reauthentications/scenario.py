"""A pair gets new IKE_SAs again and again, also while the old one is still in use."""

from lab.deadline import wait_until
from lab.errors import LabError
from lab.stage import Stage
from lab.swanctl import initiate, list_ike_sas, rekey_child

TITLE = "a pair is re-authenticated again and again"
NODES = 2
UDP_A_SECOND = 1000
TICK_SECONDS = 0.002
ROUNDS = 20
SETTLED_SECONDS = 90.0
COUNTERS = ("XfrmInNoStates", "XfrmOutNoStates", "XfrmAcquireError")
CLOSER, OTHER = "node2", "node1"
"""By the rule of `geneveil.mesh.initiation`: who of the two closes doubles. Were it the other one,
round 2 would not put it to the test."""


async def play(stage: Stage) -> None:
    await play_rounds(stage, ROUNDS)


async def play_rounds(stage: Stage, rounds: int) -> None:
    """Play so many rounds; kinds take turns.

    Raises:
        LabError: the pair did not come to rest in time, or packets met no SA.
    """
    before = await _counts(stage)
    await _rest(stage)
    for number in range(rounds):
        await (_one_side, _apart)[number % 2](stage, number)
        await _rest(stage)
        after = await _counts(stage)
        if after != before:
            raise LabError(f"round {number}: packets met no SA", why=f"{before} -> {after}")
    stage.note(f"{rounds} rounds; no packet met an SA that was not there")


async def _one_side(stage: Stage, number: int) -> None:
    await _initiate(stage, (CLOSER, OTHER)[number // 2 % 2])


async def _apart(stage: Stage, number: int) -> None:
    (old,) = await list_ike_sas(stage, CLOSER)
    await _initiate(stage, CLOSER)

    async def both_are_whole() -> bool:
        return [sorted(sa.children) for sa in await list_ike_sas(stage, CLOSER)] == [
            ["in", "out"]
        ] * 2

    await wait_until(both_are_whole, "a double", 30, poll_seconds=0.1)
    await rekey_child(stage, CLOSER, old.children["out"])


async def _initiate(stage: Stage, node: str) -> None:
    (sa,) = await list_ike_sas(stage, node)
    await initiate(stage, node, sa.connection, "out")


async def _rest(stage: Stage) -> None:
    """Until both nodes have one IKE_SA, with both children, twice in a row."""
    last = ""
    seen = 0

    async def at_rest() -> bool:
        nonlocal last, seen
        found = [await list_ike_sas(stage, node.name) for node in stage.nodes]
        last = str(found)
        is_one = all([sorted(sa.children) for sa in sas] == [["in", "out"]] for sas in found)
        seen = seen + 1 if is_one else 0
        return seen >= 2

    await wait_until(
        at_rest, "one IKE_SA a node", SETTLED_SECONDS, explain=lambda: last, poll_seconds=1
    )


async def _counts(stage: Stage) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for node in stage.nodes:
        text = await stage.running.remote(node.name).check("cat /proc/net/xfrm_stat")
        pairs = dict(line.split() for line in text.splitlines())
        found |= {(node.name, name): int(pairs[name]) for name in COUNTERS}
    return found
