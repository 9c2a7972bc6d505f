"""node4 is removed for good; a new machine with an empty disk is added under its name."""

import shutil

from lab.bringup import await_wired
from lab.deadline import wait_until
from lab.errors import LabError
from lab.fault import Belonging, Fault, Keeps, codes
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = "A node is removed for good, and a fourth one is added to three"
NODES = 4
SHARES_LAB = False
_NAME = "node4"
_OTHERS = ("node1", "node2", "node3")
_GONE_SECONDS = 30.0
_CLOSED_SECONDS = 60.0


async def _remove(stage: Stage) -> None:
    assert stage.traffic is not None
    await stage.power_off(_NAME)
    stage.traffic.dismiss(_NAME)
    stage.away.add(_NAME)
    await stage.control_plane.remove(_NAME)
    await stage.running.remote(CENTRAL).check(f"ovn-sbctl chassis-del {_NAME}")
    address = str(stage.running.layout.topology.node(_NAME).underlay.ip)

    async def nothing_left() -> bool:
        for name in _OTHERS:
            text = await stage.running.remote(name).check(
                "swanctl --list-conns --uri unix:///run/charon.vici; "
                "swanctl --list-sas --uri unix:///run/charon.vici; ip xfrm state; ip xfrm policy"
            )
            if _NAME in text or f"{address} " in text or f"{address}/" in text:
                return False
        return True

    took = await wait_until(
        nothing_left, "nothing of the removed node to be left on the others", _GONE_SECONDS
    )
    stage.note(f"nothing of the removed node is left on the others after {took:.1f} s")


async def _add(stage: Stage) -> None:
    """A machine with an empty disk boots, and is to stay out until somebody takes it in."""
    disk = stage.running.layout.disk(_NAME)
    for folder in ("geneveil", "etc-geneveil", "openvswitch"):
        shutil.rmtree(disk / folder, ignore_errors=True)
        (disk / folder).mkdir()
    await stage.power_on(_NAME, until="network")
    assert stage.traffic is not None
    await stage.traffic.rejoin(_NAME)
    stage.away.discard(_NAME)
    await stage.running.reached(_NAME, "services")

    async def is_closed() -> bool:
        try:
            found = await stage.status(_NAME)
        except LabError:
            return False  # its agent has not written one yet
        says = {value["code"] for value in found["health"]}
        return "not-enrolled" in says and all(peer["state"] != "up" for peer in found["peers"])

    await wait_until(
        is_closed, "the new machine to say that it has no certificate", _CLOSED_SECONDS
    )
    assert await stage.control_plane.keeps_out(_NAME), "a removed node may come back, untold"
    assert await is_closed()


async def _take_in(stage: Stage) -> None:
    await stage.control_plane.take_in(_NAME, is_back=True)
    await await_wired(stage.running, stage.running.layout.topology.node(_NAME))
    stage.note(f"the new machine was in the cluster after {await stage.await_well():.1f} s")


FAULTS = (
    Fault(
        "node_removed",
        "node: removed for good from a cluster of four",
        _remove,
        touches=(_NAME,),
        hold_seconds=5,
        keeps=Keeps.UNTOUCHED,
    ),
    Fault(
        "node_added",
        "node: a new machine boots beside three, without a token, and gets one",
        _add,
        _take_in,
        touches=(_NAME,),
        hold_seconds=5,
        says=codes([_NAME], "not-enrolled"),
        keeps=Keeps.UNTOUCHED,
        most_recovery_seconds=40.0,
        takes=frozenset(Belonging),
        well_seconds=120.0,
    ),
)
