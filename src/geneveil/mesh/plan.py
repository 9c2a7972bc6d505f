"""Tunnels and settings to the connections and the guard that this node should have."""

from dataclasses import dataclass

from geneveil.mesh.checks import Pair, check_conflicts, check_tunnel
from geneveil.mesh.unsupported import judge_unsupported
from geneveil.model.cluster import Encapsulation
from geneveil.model.connection import GENEVE_PORT, Connection
from geneveil.model.guard import GuardSpec
from geneveil.model.health import Finding, Severity
from geneveil.model.tunnel import OvsSnapshot, used_ports


@dataclass(frozen=True)
class MeshPlan:
    """What this node should have.

    Attributes:
        connections: sorted by name.
        guard: every port on which Geneve may travel, and what other tunnels use.
    """

    chassis: str
    connections: tuple[Connection, ...]
    guard: GuardSpec
    findings: tuple[Finding, ...]


def plan_mesh(
    snapshot: OvsSnapshot, chassis: str, ports: tuple[int, ...], encapsulation: Encapsulation
) -> MeshPlan:
    """Decide connections and guard from one complete picture of the tunnels.

    Args:
        chassis: this node's name.
        ports: what configuration and cluster settings say is to be guarded.
    Returns:
        One connection for each pair of addresses whose tunnels pass every check.
    Fails closed: yes; a tunnel that does not pass gets the guard and nothing else, and so does
        each port that a tunnel uses without being configured.
    """
    pairs: list[Pair] = []
    findings: list[Finding] = []
    for tunnel in snapshot.tunnels:
        verdict = check_tunnel(tunnel, chassis, snapshot.encap_ips)
        if isinstance(verdict, Finding):
            findings.append(verdict)
        else:
            pairs.append(verdict)
    findings += _ipsec_off(snapshot)
    good, conflicts = check_conflicts(pairs)
    # Of every tunnel, above all of those that stay closed: they must not travel in clear.
    used = {p for tunnel in snapshot.tunnels for p in used_ports(tunnel.dst_port, GENEVE_PORT)}
    unlisted = sorted(used - set(ports))
    findings += conflicts
    findings += [_unlisted(port) for port in unlisted]
    others = judge_unsupported(snapshot)
    findings += others.findings
    return MeshPlan(
        chassis=chassis,
        connections=_connections(good, chassis, encapsulation),
        guard=GuardSpec(tuple(sorted({*ports, *unlisted, *others.ports})), others.protocols),
        findings=tuple(findings),
    )


def _connections(
    pairs: list[Pair], chassis: str, encapsulation: Encapsulation
) -> tuple[Connection, ...]:
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.addresses, []).append(pair)
    connections = [
        Connection(
            local_chassis=chassis,
            remote_chassis=group[0].remote_chassis,
            local_ip=local_ip,
            remote_ip=remote_ip,
            ports=tuple(sorted(pair.port for pair in group)),
            force_encapsulation=encapsulation is Encapsulation.ALWAYS
            or any(pair.force_encapsulation for pair in group),
        )
        for (local_ip, remote_ip), group in groups.items()
    ]
    return tuple(sorted(connections, key=lambda c: c.name))


def _ipsec_off(snapshot: OvsSnapshot) -> list[Finding]:
    """One warning for all tunnels: what OVN says of IPsec takes nothing from anybody."""
    nameless = [t for t in snapshot.tunnels if t.port_chassis and not t.remote_name]
    if not nameless:
        return []
    return [
        Finding(
            code="ipsec-off-in-ovn",
            severity=Severity.WARNING,
            subject="OVN",
            what=f"NB_Global ipsec is off: {len(nameless)} tunnels have no remote_name; they are "
            "encrypted all the same, under the names that ovn-controller gave their ports",
            remedy="ovn-nbctl set NB_Global . ipsec=true; to take encryption out on purpose, "
            "decommission the nodes",
        )
    ]


def _unlisted(port: int) -> Finding:
    return Finding(
        code="port-not-configured",
        severity=Severity.WARNING,
        subject=f"UDP port {port}",
        what="a tunnel uses it; the guard knows Geneve on it by its shape alone until the agent "
        "has seen that",
        remedy="add it to genevePorts of the cluster's and the agent's configuration",
    )
