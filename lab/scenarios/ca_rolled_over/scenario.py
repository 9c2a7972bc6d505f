"""The authority is rolled over by command."""

from lab.rollover import await_phases, issuers, pass_waves, rotate
from lab.stage import Stage

TITLE = "The certificate authority is rolled over, all nodes, without a lost packet"
NODES = 3


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
    for node in stage.nodes:
        bundle = await stage.running.remote(node.name).check(
            "grep -c BEGIN /var/lib/geneveil/trust-bundle.pem"
        )
        assert bundle.strip() == "1", f"{node.name} still trusts {bundle.strip()} authorities"
