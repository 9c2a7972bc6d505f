"""Somebody on the way who drops ESP and lets everything else through: at the receiver's wire.

By tc(8) on the interface's ingress, before nftables, XFRM and whatever the product looks at; the
witness on the bridge still sees the packet. tc takes the protocol in hexadecimal, whatever it says.
"""

from lab.stage import Stage
from lab.topology import UNDERLAY_INTERFACE

ESP = 50
_PRIORITY = 50


async def block_esp(stage: Stage, source: str, destination: str) -> None:
    """From now on no packet of IP protocol 50 gets from one node to another."""
    address = stage.node(source).underlay.ip
    family = "ip" if address.version == 4 else "ipv6"
    add = f"tc filter add dev {UNDERLAY_INTERFACE} ingress pref {_PRIORITY}"
    await stage.remote(destination).check(
        f"tc qdisc add dev {UNDERLAY_INTERFACE} clsact 2> /dev/null; "
        f"{add} protocol {family} flower src_ip {address} ip_proto {ESP:#x} action drop"
    )


async def unblock_esp(stage: Stage, destination: str) -> None:
    """ESP gets to the node again, from everybody."""
    await stage.remote(destination).check(
        f"tc filter del dev {UNDERLAY_INTERFACE} ingress pref {_PRIORITY}"
    )
