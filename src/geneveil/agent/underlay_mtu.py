"""Whether the longest packet of a pod fits through the underlay, once it is encrypted. Pure.

What does not fit is lost where it leaves: Open vSwitch forbids fragments of what it tunnels. Pods
that find out the path's MTU go on with shorter packets, all others lose the long ones.
"""

from collections.abc import Mapping
from ipaddress import ip_address

from geneveil.agent.wire_watch import locate_ends
from geneveil.mesh.plan import MeshPlan
from geneveil.model.errors import GeneveilError
from geneveil.model.health import Finding, Severity
from geneveil.model.mtu import Overlay, longest_pod_packet_bytes, outer_packet_bytes
from geneveil.model.tunnel import OvsSnapshot


def judge_underlay_mtu(
    addresses: Mapping[str, str] | GeneveilError,
    mtus: Mapping[str, int] | GeneveilError,
    snapshot: OvsSnapshot | None,
    plan: MeshPlan | None,
) -> list[Finding]:
    """A warning for each interface at a tunnel's end that is too small for pods' longest packet.

    ESP in UDP is reckoned with, whether it is used now or not (docs/decisions/0008-mtu.md).
    What could not be read makes no finding.

    Args:
        mtus: interface to its MTU in bytes.
    """
    longest = snapshot.longest_pod_mtu_bytes if snapshot is not None else None
    if longest is None or isinstance(mtus, GeneveilError):
        return []
    findings: dict[str, Finding] = {}
    # IPv6 is looked at last: of an interface that holds both, it needs more.
    ends = locate_ends(addresses, snapshot, plan)
    for end, interface in sorted(ends.items(), key=lambda item: ip_address(item[0]).version):
        overlay = Overlay(mtus.get(interface, 0), ipv6=ip_address(end).version == 6)
        needed = outer_packet_bytes(overlay, longest, nat_t=True)
        if interface in mtus and overlay.underlay_mtu_bytes < needed:
            findings[interface] = _too_small(interface, overlay, longest, needed)
    return list(findings.values())


def _too_small(interface: str, overlay: Overlay, longest: int, needed: int) -> Finding:
    fits = longest_pod_packet_bytes(overlay, nat_t=True)
    return Finding(
        "underlay-mtu-too-small",
        Severity.WARNING,
        interface,
        f"its MTU is {overlay.underlay_mtu_bytes}, and a pod's longest packet, {longest} bytes, is "
        f"up to {needed} on the wire: what does not fit is lost",
        f"raise the MTU of {interface} to {needed}, or lower that of pods and of the management "
        f"port to {fits} (`geneveil mtu --underlay {overlay.underlay_mtu_bytes}`)",
    )
