"""One tunnel at a time: can it be a pair that is encrypted? Each reason why not has a name.

A tunnel that fails a check stays closed: it gets no connection, and the guard drops its traffic.
The others go on. Options of OVSDB are an allow-list: whatever is not understood here is never
passed on to a daemon, and never ignored either, since it may have been meant to matter.
"""

from dataclasses import dataclass
from ipaddress import ip_address

from geneveil.model.connection import GENEVE_PORT
from geneveil.model.health import Finding, Severity
from geneveil.model.names import is_chassis_name, name_key
from geneveil.model.tunnel import Tunnel, read_port

FORCE_ENCAPSULATION_OPTIONS = frozenset({"ipsec_encapsulation", "ipsec_forceencaps"})
"""The two spellings by which OVN asks for ESP in UDP (ovn-nb(5), NB_Global options); both count
only with a value of yes or true."""


@dataclass(frozen=True, order=True)
class Pair:
    """A tunnel that passed: who is at the other end, at which addresses and port."""

    remote_chassis: str
    local_ip: str
    remote_ip: str
    port: int
    force_encapsulation: bool
    interface: str

    @property
    def addresses(self) -> tuple[str, str]:
        return (self.local_ip, self.remote_ip)


def check_tunnel(tunnel: Tunnel, chassis: str, encap_ips: tuple[str, ...]) -> Pair | Finding:
    """Judge one tunnel; the first reason against it wins.

    Args:
        chassis: this node's own name.
        encap_ips: this node's tunnel addresses, for tunnels that do not name their own.
    Fails closed: yes.
    """
    refusal = _check_options(tunnel) or _check_name(tunnel, chassis)
    if refusal is not None:
        return refusal
    remote_ip = _address(tunnel.remote_ip)
    if remote_ip is None:
        return _refuse(
            tunnel,
            "tunnel-without-address",
            f"its remote_ip {tunnel.remote_ip!r} is not an address",
            "give each tunnel its own remote_ip; flow-based tunnels cannot be encrypted",
        )
    local_ip = _local_address(tunnel, encap_ips, remote_ip)
    if local_ip is None:
        return _refuse(
            tunnel,
            "tunnel-without-local-address",
            f"its local_ip {tunnel.local_ip!r} is not an address of the family of {remote_ip}",
            "set options:local_ip, or one external_ids:ovn-encap-ip",
        )
    port = tunnel_port(tunnel)
    if port is None:
        return _refuse(
            tunnel,
            "tunnel-with-bad-port",
            f"its dst_port {tunnel.dst_port!r} is not a UDP port",
            "write a number from 1 to 65535, or remove dst_port",
        )
    force = any(name in FORCE_ENCAPSULATION_OPTIONS for name, _value in tunnel.ipsec_options)
    return Pair(tunnel.peer_name, local_ip, remote_ip, port, force, tunnel.interface)


def tunnel_port(tunnel: Tunnel) -> int | None:
    """The UDP port that is written, or None if it is none; what Open vSwitch makes of that, says
    `used_ports`."""
    return read_port(tunnel.dst_port) if tunnel.dst_port else GENEVE_PORT


def check_conflicts(pairs: list[Pair]) -> tuple[list[Pair], list[Finding]]:
    """Sort out pairs that cannot both be true: none of them is opened.

    Two tunnels to one address and port leave open which of them is meant; two names at one
    address pair leave open who is there.
    """
    by_addresses: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        by_addresses.setdefault(pair.addresses, []).append(pair)
    good: list[Pair] = []
    findings: list[Finding] = []
    for (local_ip, remote_ip), group in sorted(by_addresses.items()):
        names = {name_key(pair.remote_chassis) for pair in group}
        ports = [pair.port for pair in group]
        if len(names) == 1 and len(set(ports)) == len(ports):
            good += group
            continue
        interfaces = ", ".join(sorted(pair.interface for pair in group))
        chassis = ", ".join(sorted({pair.remote_chassis for pair in group}))
        findings.append(
            Finding(
                code="tunnels-to-one-address",
                severity=Severity.ERROR,
                subject=f"{local_ip} to {remote_ip}",
                what=f"{len(group)} tunnels ({interfaces}; {chassis}) go there; all stay closed",
                remedy="leave one tunnel for each pair of addresses",
            )
        )
    return good, findings


def _check_options(tunnel: Tunnel) -> Finding | None:
    if tunnel.has_psk:
        return _refuse(
            tunnel,
            "tunnel-with-psk",
            "it has a pre-shared key, and peers are known by certificate alone",
            "remove options:psk",
        )
    if tunnel.has_remote_cert:
        return _refuse(
            tunnel,
            "tunnel-with-remote-cert",
            "it names a peer's certificate, and peers are known by the cluster's authority alone",
            "remove options:remote_cert",
        )
    for name, value in tunnel.ipsec_options:
        if name not in FORCE_ENCAPSULATION_OPTIONS or value.lower() not in ("yes", "true"):
            return _refuse(
                tunnel,
                "tunnel-with-unknown-option",
                f"its option {name} is not among those that are understood",
                f"remove {name} from the options of the tunnel or of NB_Global",
            )
    return None


def _check_name(tunnel: Tunnel, chassis: str) -> Finding | None:
    if not tunnel.peer_name:
        return _refuse(
            tunnel,
            "tunnel-without-name",
            "neither it nor its port names a chassis, so nobody knows who must be at the other end",
            "set NB_Global ipsec=true, so that ovn-controller writes it",
        )
    if not is_chassis_name(tunnel.peer_name):
        return _refuse(
            tunnel,
            "tunnel-with-bad-name",
            f"its remote_name {tunnel.peer_name!r} cannot be a chassis name",
            "use letters, digits, dot, hyphen and underscore, at most 63",
        )
    if name_key(tunnel.peer_name) == name_key(chassis):
        return _refuse(
            tunnel,
            "tunnel-to-itself",
            f"its remote_name is this node's own, {chassis}",
            "give each node its own external_ids:system-id",
        )
    return None


def _local_address(tunnel: Tunnel, encap_ips: tuple[str, ...], remote_ip: str) -> str | None:
    version = ip_address(remote_ip).version
    if tunnel.local_ip:
        candidates = [_address(tunnel.local_ip)]
    else:
        candidates = [_address(ip) for ip in encap_ips]
    fitting = [ip for ip in candidates if ip is not None and ip_address(ip).version == version]
    # Of several addresses the routing table would choose; guessing could open the wrong pair.
    return fitting[0] if len(fitting) == 1 else None


def _address(text: str) -> str | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        return None
    if getattr(address, "scope_id", None):
        return None
    return str(address)


def _refuse(tunnel: Tunnel, code: str, what: str, remedy: str) -> Finding:
    return Finding(
        code=code,
        severity=Severity.ERROR,
        subject=f"tunnel {tunnel.interface}",
        what=f"{what}; it stays closed",
        remedy=remedy,
    )
