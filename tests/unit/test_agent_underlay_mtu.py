"""Whether the underlay takes the longest packet of a pod."""

from dataclasses import replace

import pytest

from geneveil.agent.underlay_mtu import judge_underlay_mtu
from geneveil.mesh.plan import plan_mesh
from geneveil.model.cluster import Encapsulation
from geneveil.model.errors import GeneveilError, KernelError
from geneveil.model.health import Severity
from geneveil.model.tunnel import OvsSnapshot, Tunnel
from geneveil.underlay.io import KernelAddresses

V4, V6 = "192.0.2.1", "2001:db8::1"
ADDRESSES = {V4: "eth0", V6: "eth0", "198.51.100.1": "mgmt0", "127.0.0.1": "lo"}
MTUS = {"eth0": 1500, "mgmt0": 1280, "lo": 65536}
BROKEN = KernelError("cannot read", why="No buffer space available")


def snapshot(longest: int | None, *local_ips: str) -> OvsSnapshot:
    tunnels = tuple(Tunnel(f"t-{ip}", "192.0.2.2", ip, "node2") for ip in local_ips)
    return OvsSnapshot("node1", (), tunnels, longest_pod_mtu_bytes=longest)


# underlay MTU, tunnels' ends, pods' longest MTU: what is needed, and what would fit
TOO_SMALL = {
    "lowered": (1400, (V4,), 1400, 1500, 1300),
    "by one byte": (1499, (V4,), 1400, 1500, 1396),
    "room for NAT-T is missing": (1500, (V4,), 1408, 1508, 1400),
    "IPv6 needs twenty more": (1500, (V6,), 1400, 1520, 1380),
    "both on one interface": (1500, (V6, V4), 1400, 1520, 1380),
    "nothing fits": (60, (V4,), 1400, 1500, 0),
}


@pytest.mark.parametrize(
    ("mtu", "ends", "longest", "needed", "fits"), TOO_SMALL.values(), ids=TOO_SMALL.keys()
)
def test_a_wire_that_is_too_small_is_named_with_both_figures_and_both_ways_out(
    mtu: int, ends: tuple[str, ...], longest: int, needed: int, fits: int
) -> None:
    mtus = {**MTUS, "eth0": mtu}
    (finding,) = judge_underlay_mtu(ADDRESSES, mtus, snapshot(longest, *ends), None)
    assert finding.code == "underlay-mtu-too-small"
    assert (finding.severity, finding.subject) == (Severity.WARNING, "eth0")
    assert f"its MTU is {mtu}," in finding.what
    assert f"{longest} bytes, is up to {needed} on the wire" in finding.what
    assert f"raise the MTU of eth0 to {needed}" in finding.remedy
    assert f"management port to {fits} " in finding.remedy


FITS: dict[
    str,
    tuple[dict[str, str] | GeneveilError, dict[str, int] | GeneveilError, OvsSnapshot | None],
] = {
    "to the byte": (ADDRESSES, MTUS, snapshot(1400, V4)),
    "IPv6, to the byte": (ADDRESSES, MTUS, snapshot(1380, V6, V4)),
    "no pods": (ADDRESSES, MTUS, snapshot(None, V4)),
    "no tunnels": (ADDRESSES, MTUS, snapshot(9000)),
    "an end that is not here": (ADDRESSES, MTUS, snapshot(9000, "192.0.2.9", "flow", "")),
    "Open vSwitch not read yet": (ADDRESSES, MTUS, None),
    "addresses unreadable": (BROKEN, BROKEN, snapshot(9000, V4)),
    "MTUs unreadable": (ADDRESSES, BROKEN, snapshot(9000, V4)),
    "the interface went": (ADDRESSES, {"lo": 65536}, snapshot(9000, V4)),
}


@pytest.mark.parametrize(("addresses", "mtus", "seen"), FITS.values(), ids=FITS.keys())
def test_what_fits_or_is_not_known_is_no_finding(
    addresses: dict[str, str] | GeneveilError,
    mtus: dict[str, int] | GeneveilError,
    seen: OvsSnapshot | None,
) -> None:
    assert judge_underlay_mtu(addresses, mtus, seen, None) == []


def test_each_interface_is_judged_by_itself() -> None:
    seen = snapshot(1400, V4, "198.51.100.1")
    assert [f.subject for f in judge_underlay_mtu(ADDRESSES, MTUS, seen, None)] == ["mgmt0"]
    both = judge_underlay_mtu(ADDRESSES, {"eth0": 1300, "mgmt0": 1280}, seen, None)
    assert {f.subject for f in both} == {"eth0", "mgmt0"}


def test_a_tunnel_without_local_ip_ends_where_the_plan_says() -> None:
    tunnel = Tunnel("t", "192.0.2.2", "", "node2")
    seen = replace(snapshot(1401), encap_ips=(V4,), tunnels=(tunnel,))
    plan = plan_mesh(seen, "node1", (6081,), Encapsulation.AUTO)
    assert [connection.local_ip for connection in plan.connections] == [V4]
    assert judge_underlay_mtu(ADDRESSES, MTUS, seen, plan)
    assert judge_underlay_mtu(ADDRESSES, MTUS, replace(seen, encap_ips=()), plan)


def test_the_kernel_tells_the_mtu_of_what_is_there() -> None:
    mtus = KernelAddresses().read_mtus(["lo", "not-there"])
    assert list(mtus) == ["lo"]
    assert mtus["lo"] > 0


def test_an_interface_may_be_called_anything() -> None:
    assert KernelAddresses().read_mtus([b"\xff".decode(errors="surrogateescape")]) == {}
