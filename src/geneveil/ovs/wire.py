"""OVSDB rows to tunnels. Pure.

What ovn-controller and people write into an Interface's options is a contract with whoever sets up
IPsec: ovs-vswitchd.conf.db(5), "Interface", "Tunnel Options" and "IPsec options". Only the names
of secrets are looked at here; a pre-shared key is never copied out of its row.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from geneveil.model.tunnel import OvsSnapshot, Tunnel

TUNNEL_TYPE = "geneve"
IPSEC_PREFIX = "ipsec_"

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
            }
        },
        "Open_vSwitch": {"columns": {"external_ids": {"type": _TEXT_MAP}}},
    },
}
"""The part of vswitch.ovsschema that is read; these columns are the same since Open vSwitch 1.4."""

CONDITIONS: dict[str, list[list[str]]] = {"Interface": [["type", "==", TUNNEL_TYPE]]}
"""The server sends tunnels only: a node has a hundred pods' interfaces beside them."""


def parse_tunnel(name: str, options: Mapping[str, str]) -> Tunnel:
    """One Interface row of type geneve."""
    ipsec = sorted((k, v) for k, v in options.items() if k.startswith(IPSEC_PREFIX))
    return Tunnel(
        interface=name,
        remote_ip=options.get("remote_ip", ""),
        local_ip=options.get("local_ip", ""),
        remote_name=options.get("remote_name", ""),
        dst_port=options.get("dst_port", ""),
        ipsec_options=tuple(ipsec),
        has_psk="psk" in options,
        has_remote_cert="remote_cert" in options,
    )


def build_snapshot(external_ids: Mapping[str, str], tunnels: Iterable[Tunnel]) -> OvsSnapshot:
    """One reading of the whole database."""
    encap_ips = external_ids.get("ovn-encap-ip", "").split(",")
    return OvsSnapshot(
        system_id=external_ids.get("system-id", ""),
        encap_ips=tuple(ip.strip() for ip in encap_ips if ip.strip()),
        tunnels=tuple(sorted(tunnels, key=lambda t: (t.interface, t.remote_ip, t.local_ip))),
    )
