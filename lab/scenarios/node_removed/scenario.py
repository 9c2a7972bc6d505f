"""node3 is removed for good; a new machine with an empty disk takes its name."""

import shutil

from lab.deadline import wait_until
from lab.errors import LabError
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = "A node is removed for good, and a new machine is added under its name"
NODES = 3
_GONE_SECONDS = 30.0


async def play(stage: Stage) -> None:
    stage.touched.add("node3")
    gone = stage.running.layout.topology.node("node3")
    central = stage.running.remote(CENTRAL)
    await stage.power_off("node3")
    await stage.control_plane.remove("node3")
    await central.check("ovn-sbctl chassis-del node3")

    async def nothing_left() -> bool:
        for name in ("node1", "node2"):
            text = await stage.running.remote(name).check(
                "swanctl --list-conns --uri unix:///run/charon.vici; "
                "swanctl --list-sas --uri unix:///run/charon.vici; ip xfrm state; ip xfrm policy"
            )
            if "node3" in text or f"{gone.underlay.ip} " in text or f"{gone.underlay.ip}/" in text:
                return False
        return True

    took = await wait_until(
        nothing_left, "nothing of node3 to be left on the others", _GONE_SECONDS
    )
    stage.note(f"nothing of the removed node is left on the others after {took:.1f} s")
    await stage.await_well(["node1", "node2"])

    disk = stage.running.layout.disk("node3")
    for folder in ("geneveil", "etc-geneveil", "openvswitch"):
        shutil.rmtree(disk / folder, ignore_errors=True)
        (disk / folder).mkdir()
    await stage.power_on("node3")

    async def is_closed() -> bool:
        try:
            found = await stage.status("node3")
        except LabError:
            return False  # its agent has not written one yet
        says = {value["code"] for value in found["health"]}
        return "not-enrolled" in says and all(peer["state"] != "up" for peer in found["peers"])

    await wait_until(is_closed, "the new machine to say that it has no certificate", 30)
    assert await stage.control_plane.keeps_out("node3"), "a removed node may come back, untold"
    assert await is_closed()
    await stage.control_plane.take_in("node3", is_back=True)
    stage.note(f"the new machine was in the cluster after {await stage.await_well():.1f} s")
