"""The authority is rolled over by command."""

from lab.deadline import wait_until
from lab.rollover import await_phases, issuers, pass_waves, rotate
from lab.stage import Stage

TITLE = "The certificate authority is rolled over, all nodes, without a lost packet"
NODES = 3
_COUNT = "grep -c BEGIN /var/lib/geneveil/trust-bundle.pem"
_DROPPED_SECONDS = 15.0


async def play(stage: Stage) -> None:
    before = await issuers(stage)
    await rotate(stage)
    seen = await await_phases(stage, until="switch")
    await pass_waves(stage)
    seen = await await_phases(stage, seen_before=seen)
    stage.note("phases seen: " + ", ".join(seen))
    await stage.await_well()
    after = await issuers(stage)
    assert len(set(after.values())) == 1, f"issuers differ: {after}"
    assert not set(before.values()) & set(after.values()), f"still the old authority: {after}"
    await _await_one_authority(stage)


async def _await_one_authority(stage: Stage) -> None:
    """Every node has dropped the authority that was followed."""
    trusted: dict[str, str] = {}

    async def dropped() -> bool:
        for node in stage.nodes:
            text = await stage.running.remote(node.name).check(_COUNT)
            trusted[node.name] = text.strip()
        return set(trusted.values()) == {"1"}

    await wait_until(
        dropped,
        "every node to trust one authority alone",
        _DROPPED_SECONDS,
        explain=lambda: f"authorities that each trusts: {trusted}",
        poll_seconds=0.3,
    )
