"""Tunnels as Open vSwitch has them, before anybody judged them.

All texts stand as OVSDB has them: whether they make sense is decided in `geneveil.mesh`.
"""

import re
from dataclasses import dataclass

OTHER_TUNNEL_TYPES = (
    "bareudp",
    "erspan",
    "gre",
    "gtpu",
    "ip6erspan",
    "ip6gre",
    "lisp",
    "srv6",
    "stt",
    "vxlan",
)
"""Interface types of Open vSwitch that carry packets to another machine and are not Geneve:
ovs-vswitchd.conf.db(5), "Interface", "type"."""

HIGHEST_PORT = 65535

_AS_C_READS = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_LONG = 1 << 63
_LONG_DIGITS = len(str(_LONG))


def used_ports(dst_port: str, default: int) -> frozenset[int]:
    """Every UDP port to which a tunnel with this option may send.

    What is written plainly is one port. Anything else Open vSwitch reads as atoi(3) does, and takes
    the lowest 16 bits (set_tunnel_config in lib/netdev-vport.c): `7000x` is 7000, 72617 is 7081.
    So for a text that no person would read as a port, both that and the default are meant.
    """
    if not dst_port:
        return frozenset({default})
    plain = read_port(dst_port)
    if plain is not None:
        return frozenset({plain})
    digits = _AS_C_READS.match(dst_port)
    number = _as_long(digits[1]) if digits else 0
    return frozenset({default, number & 0xFFFF} - {0})


def read_port(text: str) -> int | None:
    """The UDP port that is written plainly, or None if it is none."""
    if not (text.isascii() and text.isdigit()):
        return None
    port = _as_long(text)
    return port if 0 < port <= HIGHEST_PORT else None


def _as_long(text: str) -> int:
    """The number in C's `long`, which stops at its ends; int() raises at more than 4,300 digits."""
    is_negative, digits = text.startswith("-"), text.lstrip("+-").lstrip("0")
    size = int(digits or "0") if len(digits) <= _LONG_DIGITS else _LONG
    return max(-size, -_LONG) if is_negative else min(size, _LONG - 1)


@dataclass(frozen=True)
class Tunnel:
    """One Interface row of type geneve.

    Attributes:
        interface: the row's name, for messages.
        remote_ip: the outer destination; OVSDB also allows `flow` and host names.
        local_ip: the outer source, or empty where the routing table decides.
        remote_name: the peer's chassis name, or empty.
        dst_port: UDP port as written, or empty for the default, 6081.
        ipsec_options: names and values of `ipsec_*`, sorted.
        has_psk, has_remote_cert: such an option is there; its value is not kept.
        port_chassis: whom ovn-controller made the tunnel for, as the tunnel's Port says, which it
            does whether or not IPsec is on in OVN; empty if it says nothing of this tunnel.
    """

    interface: str
    remote_ip: str
    local_ip: str = ""
    remote_name: str = ""
    dst_port: str = ""
    ipsec_options: tuple[tuple[str, str], ...] = ()
    has_psk: bool = False
    has_remote_cert: bool = False
    port_chassis: str = ""

    @property
    def peer_name(self) -> str:
        """The chassis that has to be at the other end, or empty."""
        return self.remote_name or self.port_chassis


@dataclass(frozen=True)
class OtherTunnel:
    """One Interface row of a type in OTHER_TUNNEL_TYPES; `dst_port` as in `Tunnel`."""

    interface: str
    type: str
    dst_port: str = ""


@dataclass(frozen=True)
class PodPort:
    """One Interface row that a logical port stands behind: a pod's, or the management port.

    Attributes:
        mtu_bytes: as Open vSwitch found it; None while there is no such device.
    """

    mtu_bytes: int | None


@dataclass(frozen=True)
class Bridge:
    """One Bridge row. `datapath_type` is empty or `system` for the kernel's datapath."""

    name: str
    datapath_type: str = ""


@dataclass(frozen=True)
class OvsSnapshot:
    """One complete reading of the local database.

    Attributes:
        system_id: this chassis' name, or empty when Open vSwitch has none.
        encap_ips: external_ids:ovn-encap-ip, the node's own tunnel addresses.
        tunnels: sorted by interface.
        other_tunnels: tunnels that are not Geneve, sorted by interface.
        bridges: sorted by name.
        encap_types: every word of external_ids:ovn-encap-type and its per-chassis forms, sorted.
        hw_offload: other_config:hw-offload as written, or empty.
        longest_pod_mtu_bytes: the largest MTU among the interfaces of pods, the management port
            included; None while there is none.
    """

    system_id: str
    encap_ips: tuple[str, ...]
    tunnels: tuple[Tunnel, ...]
    other_tunnels: tuple[OtherTunnel, ...] = ()
    bridges: tuple[Bridge, ...] = ()
    encap_types: tuple[str, ...] = ()
    hw_offload: str = ""
    longest_pod_mtu_bytes: int | None = None
