"""A node's underlay address changes, and changes back."""

from lab.deadline import wait_until
from lab.fault import Fault, Keeps, Step, codes
from lab.stage import Stage

TITLE = "A node's underlay address changes"
NODES = 3
_OTHER = "192.0.2.102"
_PEERS = ("node1", "node3")
_SAYS = codes(_PEERS, "peer-down")


def _renumber(is_back: bool) -> Step:
    async def step(stage: Stage) -> None:
        interface = stage.node("node2").underlay
        own, length = str(interface.ip), interface.network.prefixlen
        old, new = (_OTHER, own) if is_back else (own, _OTHER)
        await stage.remote("node2").check(
            f"set -e; ip addr del {old}/{length} dev eth0; ip addr add {new}/{length} dev eth0; "
            f"ovs-vsctl set Open_vSwitch . external_ids:ovn-encap-ip={new}"
        )
        await _await_address(stage, new)
        await stage.await_well(seconds=40)
        await _check_nothing_left(stage, old)

    return step


async def _await_address(stage: Stage, address: str) -> None:
    async def condition() -> bool:
        for name in _PEERS:
            peers = (await stage.status(stage.at(name)))["peers"]
            if address not in {peer["remoteIp"] for peer in peers if peer["state"] == "up"}:
                return False
        return True

    await wait_until(
        condition, f"{stage.at('node2')} to be reached at {address}", 40, poll_seconds=0.3
    )


async def _check_nothing_left(stage: Stage, address: str) -> None:
    for node in stage.nodes:
        text = await stage.running.remote(node.name).check(
            "swanctl --list-conns --uri unix:///run/charon.vici; "
            "swanctl --list-sas --uri unix:///run/charon.vici; ip xfrm state; ip xfrm policy"
        )
        left = [line for line in text.splitlines() if address in line.split()]
        assert not left, f"{node.name} still has {left[:3]}"


FAULTS = (
    Fault(
        "address_changes",
        "node: its underlay address changes",
        _renumber(is_back=False),
        touches=("node2",),
        says=_SAYS,
        keeps=Keeps.UNTOUCHED,
        most_outage_seconds=10.0,
        most_recovery_seconds=10.0,
        walks=False,
    ),
    Fault(
        "address_changes_back",
        "node: its underlay address changes back",
        _renumber(is_back=True),
        touches=("node2",),
        says=_SAYS,
        keeps=Keeps.UNTOUCHED,
        most_outage_seconds=10.0,
        most_recovery_seconds=10.0,
        walks=False,
    ),
    Fault(
        "address_changes_for_a_moment",
        "node: its underlay address changes and, once all is well, changes back",
        _renumber(is_back=False),
        _renumber(is_back=True),
        touches=("node2",),
        says=_SAYS,
        keeps=Keeps.UNTOUCHED,
        most_outage_seconds=10.0,
        most_recovery_seconds=10.0,
    ),
)
