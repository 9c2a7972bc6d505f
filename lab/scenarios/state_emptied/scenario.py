"""Others empty what is ours: in the kernel, in charon, in Open vSwitch, in OVN."""

import asyncio

from lab.fault import Belonging, Fault, Keeps, codes
from lab.stage import Stage
from lab.topology import CENTRAL

TITLE = "XFRM and nftables flushed, charon cleared, Geneve's port changed, IPsec turned off in OVN"
NODES = 3
_ALL = ("node1", "node2", "node3")
_PORT = 7000
_CLEAR = """
import socket, vici
link = socket.socket(socket.AF_UNIX)
link.connect("/run/charon.vici")
session = vici.Session(link)
for connection in list(session.list_conns()):
    for name in connection:
        if name.startswith("geneveil-"):
            session.unload_conn({"name": name})
session.clear_creds()
"""


async def _flush_xfrm(stage: Stage) -> None:
    await stage.running.remote("node1").check("ip xfrm state flush; ip xfrm policy flush")


async def _flush_nftables(stage: Stage) -> None:
    """Also the lab's own masquerade, which is put back in the same breath."""
    await stage.running.remote("node1").check(
        "nft list table ip lab-egress > /tmp/egress.nft && nft flush ruleset"
    )
    await stage.running.remote("node1").check("nft -f /tmp/egress.nft")


async def _clear_charon(stage: Stage) -> None:
    await stage.running.remote("node1").check(f"PYTHONPATH=/opt/site python3 -P - <<'P'{_CLEAR}P")


async def _terminate_all(stage: Stage) -> None:
    await stage.running.remote("node1").check(
        "for c in $(swanctl --list-sas --raw --uri unix:///run/charon.vici"
        " | grep -o '{geneveil-[^ ]*' | tr -d '{' | sort -u);"
        " do swanctl --terminate --force --ike $c --uri unix:///run/charon.vici; done"
    )


async def _set_port(stage: Stage, port: int) -> None:
    ends = {"node1": "node2", "node2": "node1"}

    async def at(here: str, there: str) -> None:
        address = stage.running.layout.topology.node(there).underlay.ip
        await stage.running.remote(here).check(
            "i=$(ovs-vsctl --bare --columns=name find interface type=geneve"
            f" options:remote_ip={address});"
            f" ovs-vsctl set interface $i options:dst_port={port}"
        )

    await asyncio.gather(*(at(here, there) for here, there in ends.items()))


async def _change_port(stage: Stage) -> None:
    """With ovn-controller stopped, which would set it back."""
    for name in ("node1", "node2"):
        await stage.running.remote(name).check("kill -STOP $(cat /run/ovn/ovn-controller.pid)")
    await _set_port(stage, _PORT)


async def _restore_port(stage: Stage) -> None:
    await _set_port(stage, 6081)
    for name in ("node1", "node2"):
        await stage.running.remote(name).check("kill -CONT $(cat /run/ovn/ovn-controller.pid)")


async def _ipsec_off(stage: Stage) -> None:
    await stage.running.remote(CENTRAL).check("ovn-nbctl set NB_Global . ipsec=false")


async def _ipsec_on(stage: Stage) -> None:
    await stage.running.remote(CENTRAL).check("ovn-nbctl set NB_Global . ipsec=true")


FAULTS = (
    Fault(
        "xfrm_flushed",
        "state: XFRM states and policies flushed by another program",
        _flush_xfrm,
        touches=("node1",),
        hold_seconds=2,
        says=codes(["node1"], "peer-unproven"),
        most_outage_seconds=3.0,
        takes=frozenset({Belonging.XFRM}),
        is_short=True,
    ),
    Fault(
        "nftables_flushed",
        "state: nftables flushed by another program",
        _flush_nftables,
        hold_seconds=5,
        says=codes(["node1"], "guard-missing"),
        keeps=Keeps.ALL,
        takes=frozenset({Belonging.NFTABLES}),
        is_short=True,
    ),
    Fault(
        "charon_cleared",
        "state: charon's connections and credentials cleared over VICI",
        _clear_charon,
        hold_seconds=3,
        keeps=Keeps.ALL,
        is_short=True,
    ),
    Fault(
        "charon_sas_terminated",
        "state: charon's IKE_SAs terminated over VICI",
        _terminate_all,
        touches=("node1",),
        hold_seconds=2,
        says=codes(["node1"], "peer-down"),
        most_outage_seconds=1.0,
    ),
    Fault(
        "geneve_port_changed",
        "state: Geneve's port of a pair changed in Open vSwitch, and back",
        _change_port,
        _restore_port,
        touches=("node1-node2",),
        hold_seconds=8,
        says=codes(["node1", "node2"], "port-not-configured"),
        # The two databases change one after the other: the first attempt may meet the old port.
        most_recovery_seconds=6.0,
    ),
    Fault(
        "ipsec_off_in_ovn",
        "state: IPsec turned off in OVN's NB_Global for 5 s",
        _ipsec_off,
        _ipsec_on,
        # No SA changes; but ovn-controller makes each tunnel anew, twice, and Open vSwitch has a
        # gap of up to a second or two in that.
        touches=_ALL,
        hold_seconds=5,
        says=codes(_ALL, "ipsec-off-in-ovn"),
        keeps=Keeps.ALL,
        most_outage_seconds=3.0,
        most_recovery_seconds=5.0,
    ),
)
