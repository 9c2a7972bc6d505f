"""node3 is revoked while traffic flows."""

import asyncio
import re
import time

from lab.daemons import signal_charon
from lab.deadline import wait_until
from lab.stage import Stage

TITLE = "A node is revoked: its peers close within 5 s, the others notice nothing"
NODES = 3
_CLOSED_SECONDS = 5.0


async def play(stage: Stage) -> None:
    stage.touched.add("node3")
    await signal_charon(stage, "node1", "STOP")  # whoever has no charon to ask closes it too

    async def stands_still() -> bool:
        health = (await stage.status("node1")).get("health", [])
        return any(value["code"] == "charon-away" for value in health)

    await wait_until(stands_still, "node1 to miss its charon", 20)
    victim = stage.running.layout.topology.node("node3")
    begun = time.monotonic()
    await stage.control_plane.shut_out("node3")
    commanded = time.monotonic()

    async def closed() -> bool:
        for name in ("node1", "node2"):
            text = await stage.running.remote(name).check("ip xfrm state")
            # While charon stands still its policies do too, and under their SPI the kernel holds
            # a place for what is sent and dropped: that has no key.
            states = re.split(r"^(?=src )", text, flags=re.MULTILINE)
            if any("aead" in state and str(victim.underlay.ip) in state for state in states):
                return False
        return True

    await wait_until(closed, "both peers to hold no SA with node3", _CLOSED_SECONDS)
    stage.note(
        f"no peer holds an SA with node3 {time.monotonic() - commanded:.1f} s after the command "
        f"ended ({time.monotonic() - begun:.1f} s after it began)"
    )
    await signal_charon(stage, "node1", "CONT")
    ping = "ip netns exec node3-pod1 ping -c 3 -i 0.2 -W 1 {}"
    for name in ("node1", "node2"):
        address = stage.running.layout.topology.node(name).pods[0].address.ip
        done = await stage.running.remote("node3").run(ping.format(address))
        assert done.status != 0, f"node3 still reaches {name}"
    # It tries to return as it is: restarted, with the certificate that it has.
    await stage.running.remote("node3").run("pkill -9 -f '[g]eneveil.agent'")
    await stage.running.remote("node3").check(
        "setsid geneveil agent --config /etc/geneveil/agent.yaml "
        "< /dev/null >> /disk/log/agent.log 2>&1 &"
    )
    await asyncio.sleep(8)
    assert await closed(), "node3 came back with a revoked certificate"
    assert await stage.control_plane.keeps_out("node3"), "a revoked node may come back, untold"
    await stage.await_well(["node1", "node2"])
    if stage.control_plane.asks_for_tokens:
        await stage.control_plane.take_in("node3", is_back=True)
        await stage.await_well()
