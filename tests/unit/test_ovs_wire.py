"""OVSDB rows to tunnels."""

import pytest

from geneveil.model.tunnel import OTHER_TUNNEL_TYPES, Bridge, OtherTunnel, Tunnel
from geneveil.ovs.wire import (
    CONDITIONS,
    POD_PORT_TYPES,
    build_snapshot,
    parse_interface,
    parse_tunnel,
)


def test_a_row_as_ovn_controller_writes_it() -> None:
    options = {
        "csum": "true",
        "key": "flow",
        "local_ip": "192.0.2.1",
        "remote_ip": "192.0.2.2",
        "remote_name": "node2",
    }
    assert parse_tunnel("ovn-node2-0", options) == Tunnel(
        interface="ovn-node2-0", remote_ip="192.0.2.2", local_ip="192.0.2.1", remote_name="node2"
    )


CHASSIS_IDS = {
    "of an older release": ("node2@192.0.2.2", "node2", ""),
    "with its local end": ("node2@192.0.2.2%192.0.2.1", "node2", "192.0.2.1"),
    "of another address": ("node2@192.0.2.3%192.0.2.1", "", ""),
    "without an address": ("node2", "", ""),
    "none": ("", "", ""),
}


@pytest.mark.parametrize(
    ("chassis_id", "chassis", "local_ip"), CHASSIS_IDS.values(), ids=CHASSIS_IDS.keys()
)
def test_a_port_names_the_peer_of_its_own_tunnel(
    chassis_id: str, chassis: str, local_ip: str
) -> None:
    tunnel = parse_tunnel("ovn-node2-0", {"remote_ip": "192.0.2.2"}, chassis_id)
    assert (tunnel.peer_name, tunnel.local_ip) == (chassis, local_ip)
    written = {"remote_ip": "192.0.2.2", "local_ip": "192.0.2.9", "remote_name": "node7"}
    tunnel = parse_tunnel("ovn-node2-0", written, chassis_id)
    assert (tunnel.peer_name, tunnel.local_ip) == ("node7", "192.0.2.9")


def test_secrets_are_noticed_and_not_kept() -> None:
    options = {"remote_ip": "192.0.2.2", "psk": "hunter2", "remote_cert": "-----BEGIN"}
    tunnel = parse_tunnel("t", options)
    assert tunnel.has_psk
    assert tunnel.has_remote_cert
    assert "hunter2" not in repr(tunnel)
    assert "BEGIN" not in repr(tunnel)


def test_ipsec_options_are_kept_by_name_for_the_checks() -> None:
    tunnel = parse_tunnel("t", {"ipsec_b": "2", "ipsec_a": "1", "dst_port": "7000"})
    assert tunnel.ipsec_options == (("ipsec_a", "1"), ("ipsec_b", "2"))
    assert tunnel.dst_port == "7000"


def test_a_snapshot_is_the_same_whatever_the_order_of_the_rows() -> None:
    tunnels = [Tunnel("b", "192.0.2.3"), Tunnel("a", "192.0.2.2")]
    ids = {"system-id": "node1", "ovn-encap-ip": "192.0.2.1, 198.51.100.1"}
    first, second = build_snapshot(ids, tunnels), build_snapshot(ids, reversed(tunnels))
    assert first == second
    assert first.system_id == "node1"
    assert first.encap_ips == ("192.0.2.1", "198.51.100.1")


def test_a_switch_without_a_name_has_none() -> None:
    snapshot = build_snapshot({}, [])
    assert snapshot.system_id == ""
    assert snapshot.encap_ips == ()


def test_tunnels_of_other_types_are_asked_for_and_kept_apart() -> None:
    asked = {clause[2] for clause in CONDITIONS["Interface"]}
    assert asked == {"geneve", *OTHER_TUNNEL_TYPES, *POD_PORT_TYPES}
    rows = [
        parse_interface("g", "geneve", {"remote_ip": "192.0.2.2"}),
        parse_interface("v", "vxlan", {"remote_ip": "192.0.2.2", "dst_port": "8472"}),
        parse_interface("a", "gre", {}),
    ]
    snapshot = build_snapshot({}, rows)
    assert [tunnel.interface for tunnel in snapshot.tunnels] == ["g"]
    assert snapshot.other_tunnels == (OtherTunnel("a", "gre"), OtherTunnel("v", "vxlan", "8472"))


def test_datapaths_offload_and_the_wanted_types_are_read() -> None:
    ids = {"ovn-encap-type": "geneve, vxlan", "ovn-encap-type-node1": "stt", "ovn-encap-ip": "x"}
    bridges = [Bridge("b", "netdev"), Bridge("a")]
    snapshot = build_snapshot(ids, [], bridges, {"hw-offload": "true", "vlan-limit": "0"})
    assert snapshot.encap_types == ("geneve", "stt", "vxlan")
    assert snapshot.bridges == (Bridge("a"), Bridge("b", "netdev"))
    assert snapshot.hw_offload == "true"


def test_the_longest_mtu_is_that_of_pods_and_of_the_management_port_alone() -> None:
    def longest(*rows: tuple[str, dict[str, str], list[int]]) -> int | None:
        read = [parse_interface("x", kind, {}, ids, mtu) for kind, ids, mtu in rows]
        return build_snapshot({}, read).longest_pod_mtu_bytes

    pod = {"iface-id": "ns_pod"}
    assert longest() is None
    assert longest(("internal", {}, [1500]), ("", {}, [9000]), ("geneve", pod, [65000])) is None
    assert longest(("", pod, [])) is None  # its device is away
    assert longest(("", pod, [1300]), ("system", pod, []), ("internal", pod, [1400])) == 1400
    assert longest(("system", pod, [1500]), ("internal", pod, [1400])) == 1500
