"""OVSDB rows to tunnels. Pure.

What ovn-controller and people write into an Interface's options is a contract with whoever sets up
IPsec: ovs-vswitchd.conf.db(5), "Interface", "Tunnel Options" and "IPsec options". Only the names
of secrets are looked at here; a pre-shared key is never copied out of its row.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from geneveil.model.tunnel import (
    OTHER_TUNNEL_TYPES,
    Bridge,
    OtherTunnel,
    OvsSnapshot,
    PodPort,
    Tunnel,
)

TUNNEL_TYPE = "geneve"
IPSEC_PREFIX = "ipsec_"

POD_PORT_TYPES = ("", "system", "internal")
"""A network device of the system (the first two words mean the same), or one of the switch's own,
as the management port is."""

LOGICAL_PORT = "iface-id"
"""In external_ids, ties an interface to a logical port: ovn-architecture(7), "Life Cycle of a
VIF"."""

_TEXT_MAP = {"key": "string", "value": "string", "min": 0, "max": "unlimited"}

SCHEMA: dict[str, Any] = {
    "name": "Open_vSwitch",
    "version": "8.0.0",
    "tables": {
        "Interface": {
            "columns": {
                "name": {"type": "string"},
                "type": {"type": "string"},
                "options": {"type": _TEXT_MAP},
                "external_ids": {"type": _TEXT_MAP},
                "mtu": {"type": {"key": "integer", "min": 0, "max": 1}},
            }
        },
        "Port": {
            "columns": {
                "name": {"type": "string"},
                "external_ids": {"type": _TEXT_MAP},
            }
        },
        "Bridge": {
            "columns": {
                "name": {"type": "string"},
                "datapath_type": {"type": "string"},
            }
        },
        "Open_vSwitch": {
            "columns": {
                "external_ids": {"type": _TEXT_MAP},
                "other_config": {"type": _TEXT_MAP},
            }
        },
    },
}
"""The part of vswitch.ovsschema that is read; these columns are the same since Open vSwitch 1.4."""

CONDITIONS: dict[str, list[list[Any]]] = {
    "Interface": [
        ["type", "==", kind] for kind in (TUNNEL_TYPE, *OTHER_TUNNEL_TYPES, *POD_PORT_TYPES)
    ],
    "Port": [["external_ids", "!=", ["map", []]]],
}
"""The server sends these only; which of them are pods' cannot be asked for."""

CHASSIS_ID = "ovn-chassis-id"
"""In external_ids of a tunnel's Port: `CHASSIS@REMOTE%LOCAL`, or `CHASSIS@REMOTE` of older releases
(encaps_tunnel_id_create in controller/encaps.c of OVN). The Interface has the same name."""


def parse_interface(
    name: str,
    interface_type: str,
    options: Mapping[str, str],
    external_ids: Mapping[str, str] | None = None,
    mtu: Sequence[int] = (),
    chassis_id: str = "",
) -> Tunnel | OtherTunnel | PodPort | None:
    """One Interface row of those that CONDITIONS asks for; None for a device that is no pod's.

    Args:
        mtu: no or one number of bytes: it is optional.
        chassis_id: CHASSIS_ID of the Port of that name, or empty.
    """
    if interface_type == TUNNEL_TYPE:
        return parse_tunnel(name, options, chassis_id)
    if interface_type in POD_PORT_TYPES:
        is_pods = LOGICAL_PORT in (external_ids or {})
        return PodPort(mtu[0] if mtu else None) if is_pods else None
    return OtherTunnel(name, interface_type, options.get("dst_port", ""))


def parse_tunnel(name: str, options: Mapping[str, str], chassis_id: str = "") -> Tunnel:
    """One Interface row of type geneve; `chassis_id` counts if it has the same address."""
    port_chassis, port_local_ip = _read_chassis_id(chassis_id, options.get("remote_ip", ""))
    ipsec = sorted((k, v) for k, v in options.items() if k.startswith(IPSEC_PREFIX))
    return Tunnel(
        interface=name,
        remote_ip=options.get("remote_ip", ""),
        local_ip=options.get("local_ip", port_local_ip),
        remote_name=options.get("remote_name", ""),
        dst_port=options.get("dst_port", ""),
        ipsec_options=tuple(ipsec),
        has_psk="psk" in options,
        has_remote_cert="remote_cert" in options,
        port_chassis=port_chassis,
    )


def _read_chassis_id(chassis_id: str, remote_ip: str) -> tuple[str, str]:
    chassis, _, ends = chassis_id.partition("@")
    remote, _, local_ip = ends.partition("%")
    return (chassis, local_ip) if remote and remote == remote_ip else ("", "")


def build_snapshot(
    external_ids: Mapping[str, str],
    interfaces: Iterable[Tunnel | OtherTunnel | PodPort | None],
    bridges: Iterable[Bridge] = (),
    other_config: Mapping[str, str] | None = None,
) -> OvsSnapshot:
    """One reading of the whole database."""
    rows = list(interfaces)
    tunnels = [row for row in rows if isinstance(row, Tunnel)]
    others = [row for row in rows if isinstance(row, OtherTunnel)]
    mtus = [row.mtu_bytes for row in rows if isinstance(row, PodPort)]
    encap_ips = external_ids.get("ovn-encap-ip", "").split(",")
    return OvsSnapshot(
        system_id=external_ids.get("system-id", ""),
        encap_ips=tuple(ip.strip() for ip in encap_ips if ip.strip()),
        tunnels=tuple(sorted(tunnels, key=lambda t: (t.interface, t.remote_ip, t.local_ip))),
        other_tunnels=tuple(sorted(others, key=lambda t: (t.interface, t.type, t.dst_port))),
        bridges=tuple(sorted(bridges, key=lambda b: b.name)),
        encap_types=_encap_types(external_ids),
        hw_offload=(other_config or {}).get("hw-offload", ""),
        longest_pod_mtu_bytes=max((mtu for mtu in mtus if mtu is not None), default=None),
    )


def _encap_types(external_ids: Mapping[str, str]) -> tuple[str, ...]:
    # ovn-controller(8): a key may be followed by -CHASSIS, where one database serves several.
    lists = [
        value
        for key, value in external_ids.items()
        if key == "ovn-encap-type" or key.startswith("ovn-encap-type-")
    ]
    words = {word.strip() for text in lists for word in text.split(",")}
    return tuple(sorted(words - {""}))
