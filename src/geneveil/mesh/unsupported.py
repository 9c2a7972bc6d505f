"""What Open vSwitch is set to do that IPsec in the kernel cannot cover: named, and guarded.

Two kinds. Tunnels that are not Geneve get no SA, so whatever can be told apart of them is dropped
while the database shows one. And a datapath that goes around the kernel's network stack goes around
guard and IPsec alike: nothing here can stop that, so the node says that it is not well.
"""

from dataclasses import dataclass

from geneveil.model.health import Finding, Severity
from geneveil.model.tunnel import Bridge, OtherTunnel, OvsSnapshot, used_ports

GRE_PROTOCOL = 47
DEFAULT_UDP_PORTS = {"bareudp": 6635, "gtpu": 2152, "lisp": 4341, "vxlan": 4789}
"""Where a tunnel without dst_port goes: ovs-vswitchd.conf.db(5), "Tunnel Options"."""

PROTOCOLS = dict.fromkeys(("erspan", "gre", "ip6erspan", "ip6gre"), GRE_PROTOCOL)

GENEVE = "geneve"


@dataclass(frozen=True)
class Unsupported:
    """What has to be guarded beside Geneve, and what a person must know."""

    ports: frozenset[int]
    protocols: tuple[int, ...]
    findings: tuple[Finding, ...]


def judge_unsupported(snapshot: OvsSnapshot) -> Unsupported:
    """Decide from one complete picture of the database.

    Fails closed: as far as a packet can be recognised. Of `stt` and `srv6`, and of a datapath
    outside the kernel, nothing is stopped; each is an error that keeps the node from being well.
    """
    types = [(t.type, t.dst_port) for t in snapshot.other_tunnels]
    types += [(kind, "") for kind in snapshot.encap_types]
    ports = {
        port
        for kind, dst_port in types
        if kind in DEFAULT_UDP_PORTS
        for port in used_ports(dst_port, DEFAULT_UDP_PORTS[kind])
    }
    protocols = {PROTOCOLS[kind] for kind, _ in types if kind in PROTOCOLS}
    findings = [_other_type(tunnel) for tunnel in snapshot.other_tunnels]
    findings += _encap_findings(snapshot.encap_types)
    findings += [_userspace(b) for b in snapshot.bridges if b.datapath_type not in ("", "system")]
    if snapshot.hw_offload.lower() == "true":
        findings.append(_OFFLOAD)
    return Unsupported(frozenset(ports), tuple(sorted(protocols)), tuple(findings))


def _other_type(tunnel: OtherTunnel) -> Finding:
    if tunnel.type in DEFAULT_UDP_PORTS:
        ports = sorted(used_ports(tunnel.dst_port, DEFAULT_UDP_PORTS[tunnel.type]))
        fate = f"UDP port {' and '.join(map(str, ports))} is dropped without IPsec"
    elif tunnel.type in PROTOCOLS:
        fate = f"IP protocol {PROTOCOLS[tunnel.type]} is dropped without IPsec"
    else:
        fate = "what it sends cannot be told apart, so it goes in clear"
    return Finding(
        code="tunnel-of-other-type",
        severity=Severity.ERROR,
        subject=f"tunnel {tunnel.interface}",
        what=f"its type is {tunnel.type}, and only geneve is encrypted; {fate}",
        remedy="use geneve (external_ids:ovn-encap-type=geneve), or remove the tunnel",
    )


def _encap_findings(encap_types: tuple[str, ...]) -> list[Finding]:
    others = [kind for kind in encap_types if kind != GENEVE]
    if not others:
        return []
    # With geneve among them, OVN takes another only towards a peer that has no geneve.
    is_offered = GENEVE in encap_types
    return [
        Finding(
            code="encap-type-not-geneve",
            severity=Severity.WARNING if is_offered else Severity.ERROR,
            subject="external_ids:ovn-encap-type",
            what=f"it {'also ' if is_offered else ''}asks for {', '.join(others)}, "
            "which is not encrypted; it is dropped without IPsec where it can be told apart",
            remedy="set external_ids:ovn-encap-type=geneve",
        )
    ]


def _userspace(bridge: Bridge) -> Finding:
    return Finding(
        code="datapath-outside-kernel",
        severity=Severity.ERROR,
        subject=f"bridge {bridge.name}",
        what=f"its datapath_type is {bridge.datapath_type}, which sends tunnels past the kernel's "
        "guard and IPsec: in clear",
        remedy="use the kernel's datapath: ovs-vsctl set Bridge NAME datapath_type=system",
    )


_OFFLOAD = Finding(
    code="hardware-offload",
    severity=Severity.ERROR,
    subject="other_config:hw-offload",
    what="it is true: a tunnel that a network card handles would go past the kernel's guard and "
    "IPsec",
    remedy="ovs-vsctl remove Open_vSwitch . other_config hw-offload, then restart ovs-vswitchd",
)
