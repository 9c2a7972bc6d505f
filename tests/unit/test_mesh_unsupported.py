"""Tunnels of other types, datapaths outside the kernel: named, guarded as far as possible."""

import pytest

from geneveil.mesh.plan import plan_mesh
from geneveil.mesh.unsupported import judge_unsupported
from geneveil.model.cluster import Encapsulation
from geneveil.model.guard import GuardSpec
from geneveil.model.health import Severity
from geneveil.model.tunnel import OTHER_TUNNEL_TYPES, Bridge, OtherTunnel, OvsSnapshot


def snapshot(
    *others: OtherTunnel,
    bridges: tuple[Bridge, ...] = (),
    encap_types: tuple[str, ...] = ("geneve",),
    hw_offload: str = "",
) -> OvsSnapshot:
    return OvsSnapshot("node1", ("192.0.2.1",), (), others, bridges, encap_types, hw_offload)


GUARDED = {
    "vxlan": ({4789}, ()),
    "gtpu": ({2152}, ()),
    "lisp": ({4341}, ()),
    "bareudp": ({6635}, ()),
    "gre": (set(), (47,)),
    "ip6gre": (set(), (47,)),
    "erspan": (set(), (47,)),
    "ip6erspan": (set(), (47,)),
    "stt": (set(), ()),
    "srv6": (set(), ()),
}


@pytest.mark.parametrize("kind", OTHER_TUNNEL_TYPES)
def test_each_type_is_an_error_that_names_the_tunnel(kind: str) -> None:
    judged = judge_unsupported(snapshot(OtherTunnel("t7", kind)))
    ports, protocols = GUARDED[kind]
    assert (set(judged.ports), judged.protocols) == (ports, protocols)
    (finding,) = judged.findings
    assert (finding.code, finding.severity) == ("tunnel-of-other-type", Severity.ERROR)
    assert finding.subject == "tunnel t7"
    assert f"its type is {kind}," in finding.what
    assert ("goes in clear" in finding.what) == (not ports and not protocols)


@pytest.mark.parametrize(
    ("written", "ports"),
    [
        ("", {4789}),
        ("8472", {8472}),
        ("0", {4789}),
        ("x", {4789}),
        ("4790x", {4789, 4790}),
        ("70000", {4789, 70000 - 65536}),
    ],
)
def test_the_tunnels_own_port_is_guarded_as_open_vswitch_reads_it(
    written: str, ports: set[int]
) -> None:
    assert judge_unsupported(snapshot(OtherTunnel("t", "vxlan", written))).ports == ports


def test_without_such_a_tunnel_nobodys_vxlan_is_touched() -> None:
    judged = judge_unsupported(snapshot(bridges=(Bridge("br-int"), Bridge("br-ex", "system"))))
    assert (judged.ports, judged.protocols, judged.findings) == (frozenset(), (), ())


@pytest.mark.parametrize(
    ("types", "severity"),
    [(("vxlan",), Severity.ERROR), (("geneve", "vxlan"), Severity.WARNING)],
)
def test_the_wish_for_another_type_is_guarded_before_there_is_a_tunnel(
    types: tuple[str, ...], severity: Severity
) -> None:
    judged = judge_unsupported(snapshot(encap_types=types))
    assert judged.ports == {4789}
    assert [(f.code, f.severity) for f in judged.findings] == [("encap-type-not-geneve", severity)]


@pytest.mark.parametrize("kind", ["netdev", "dpdk", "System"])
def test_any_datapath_but_the_kernels_is_an_error(kind: str) -> None:
    (finding,) = judge_unsupported(snapshot(bridges=(Bridge("br-int", kind),))).findings
    assert (finding.code, finding.severity) == ("datapath-outside-kernel", Severity.ERROR)
    assert finding.subject == "bridge br-int"
    assert kind in finding.what


@pytest.mark.parametrize(
    ("written", "codes"),
    [("true", ["hardware-offload"]), ("TRUE", ["hardware-offload"]), ("false", []), ("", [])],
)
def test_hardware_offload_is_an_error(written: str, codes: list[str]) -> None:
    findings = judge_unsupported(snapshot(hw_offload=written)).findings
    assert [finding.code for finding in findings] == codes
    assert all(finding.severity is Severity.ERROR for finding in findings)


def test_the_plan_has_them_all() -> None:
    seen = snapshot(OtherTunnel("a", "vxlan"), OtherTunnel("b", "gre"), hw_offload="true")
    plan = plan_mesh(seen, "node1", (6081,), Encapsulation.AUTO)
    assert plan.guard == GuardSpec((4789, 6081), (47,))
    assert [f.code for f in plan.findings] == [
        "tunnel-of-other-type",
        "tunnel-of-other-type",
        "hardware-offload",
    ]
