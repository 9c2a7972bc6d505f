"""Connections and guard from one picture of the tunnels."""

import itertools
from dataclasses import replace

import pytest

from geneveil.mesh.plan import plan_mesh
from geneveil.model.cluster import Encapsulation
from geneveil.model.connection import ChildName, Connection
from geneveil.model.tunnel import OvsSnapshot, Tunnel

AUTO = Encapsulation.AUTO
TUNNELS = (
    Tunnel("ovn-2", "192.0.2.2", "192.0.2.1", "node2"),
    Tunnel("ovn-3", "192.0.2.3", "192.0.2.1", "node3"),
    Tunnel("ovn-x", "192.0.2.4", "192.0.2.1", ""),
)


def snapshot(*tunnels: Tunnel) -> OvsSnapshot:
    return OvsSnapshot("node1", ("192.0.2.1",), tunnels)


def test_each_good_tunnel_is_a_connection_and_each_bad_one_a_finding() -> None:
    plan = plan_mesh(snapshot(*TUNNELS), "node1", (6081,), AUTO)
    assert plan.connections == (
        Connection("node1", "node2", "192.0.2.1", "192.0.2.2"),
        Connection("node1", "node3", "192.0.2.1", "192.0.2.3"),
    )
    assert [finding.code for finding in plan.findings] == ["tunnel-without-name"]
    assert plan.guard.ports == (6081,)


def test_what_ovn_says_of_ipsec_changes_nothing_but_a_warning() -> None:
    named = tuple(replace(tunnel, port_chassis=tunnel.remote_name) for tunnel in TUNNELS[:2])
    on = plan_mesh(snapshot(*named), "node1", (6081,), AUTO)
    nameless = tuple(replace(tunnel, remote_name="", local_ip="") for tunnel in named)
    off = plan_mesh(snapshot(*nameless), "node1", (6081,), AUTO)
    assert off.connections == on.connections
    assert on.findings == ()
    (finding,) = off.findings
    assert finding.code == "ipsec-off-in-ovn"
    assert finding.what.startswith("NB_Global ipsec is off: 2 tunnels")


def test_the_plan_does_not_depend_on_the_order_of_the_tunnels() -> None:
    plans = {
        plan_mesh(snapshot(*order), "node1", (6081,), AUTO)
        for order in itertools.permutations(TUNNELS)
    }
    assert len(plans) == 1


def test_always_forces_encapsulation_everywhere_and_an_option_on_one_pair() -> None:
    wish = Tunnel("t", "192.0.2.5", "192.0.2.1", "node5", "", (("ipsec_forceencaps", "yes"),))
    always = plan_mesh(snapshot(*TUNNELS), "node1", (6081,), Encapsulation.ALWAYS)
    assert all(connection.force_encapsulation for connection in always.connections)
    auto = plan_mesh(snapshot(*TUNNELS, wish), "node1", (6081,), AUTO)
    assert [c.remote_chassis for c in auto.connections if c.force_encapsulation] == ["node5"]


def test_ports_of_one_peer_share_a_connection() -> None:
    second = Tunnel("ovn-2b", "192.0.2.2", "192.0.2.1", "node2", "7000")
    plan = plan_mesh(snapshot(TUNNELS[0], second), "node1", (6081, 7000), AUTO)
    (connection,) = plan.connections
    assert connection.ports == (6081, 7000)
    assert [str(child) for child in connection.children] == ["in", "out", "in-7000", "out-7000"]
    assert plan.findings == ()


def test_a_port_that_nobody_configured_is_guarded_and_named() -> None:
    plan = plan_mesh(
        snapshot(Tunnel("t", "192.0.2.2", "192.0.2.1", "n", "7000")), "a", (6081,), AUTO
    )
    assert plan.guard.ports == (6081, 7000)
    assert [finding.code for finding in plan.findings] == ["port-not-configured"]


@pytest.mark.parametrize(
    ("written", "port"),
    [
        ("7000x", 7000),
        ("+7000", 7000),
        (" \t7000", 7000),
        ("72617", 72617 - 65536),
        ("-58536", 7000),
        ("9" * 30, 65535),
        ("-" + "9" * 30, None),
        ("9" * 5000, 65535),
        ("-" + "9" * 5000, None),
        ("x7000", None),
        ("\N{ARABIC-INDIC DIGIT SEVEN}", None),
    ],
)
def test_what_open_vswitch_takes_for_a_port_is_guarded_as_it_does(
    written: str, port: int | None
) -> None:
    seen = snapshot(Tunnel("t", "192.0.2.2", "192.0.2.1", "node2", written))
    plan = plan_mesh(seen, "node1", (6081,), AUTO)
    assert set(plan.guard.ports) == {6081, port} - {None}
    assert not plan.connections
    assert "tunnel-with-bad-port" in [finding.code for finding in plan.findings]


def test_without_tunnels_the_guard_stands_all_the_same() -> None:
    plan = plan_mesh(snapshot(), "node1", (6081,), AUTO)
    assert plan.connections == ()
    assert plan.guard.ports == (6081,)


def test_names_tell_connections_apart_and_carry_our_prefix() -> None:
    first = Connection("a", "b", "192.0.2.1", "192.0.2.2")
    second = Connection("a", "b", "192.0.2.1", "192.0.2.3")
    assert first.name == "geneveil-b-192.0.2.1-192.0.2.2"
    assert first.name != second.name
    longest = Connection("a", "c" * 63, "2001:db8:1111:2222:3333:4444:5555:6666", "2001:db8::2")
    assert len(longest.name.encode()) < 256  # what one VICI name may have


def test_a_child_knows_its_direction() -> None:
    assert [c.direction.value for c in Connection("a", "b", "x", "y").children] == ["in", "out"]
    assert str(ChildName(7000, "out")) == "out-7000"
