"""The cluster network as OVN-Kubernetes makes it in local-gateway mode, written to OVN northbound.

ovn_cluster_router ── rtos-nodeN 10.128.N.1 ── switch nodeN ┬─ k8s-nodeN  10.128.N.2 (host)
                                                            ├─ default_nodeN-pod1 .10
                                                            └─ default_nodeN-pod2 .11
Egress: what comes from 10.128.N.0/24 and is not for another switch goes to 10.128.N.2, the
node's own host, which forwards and masquerades it (source-routed static route).
"""

from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from lab.topology import Node, Topology

ROUTER = "ovn_cluster_router"
_TIMEOUT_SECONDS = 30


def write_cluster_network(
    socket: Path, topology: Topology, pod_mtu_bytes: int, ipsec: bool
) -> None:
    """Make router, switches and ports, then the routes.

    Two transactions, because ovsdbapp's route command reads the router's row back.

    `gateway_mtu` on the router's ports makes OVN answer a packet that is too long for the tunnel
    with the ICMP error that path MTU discovery needs (ovn-nb(5), Logical_Router_Port).
    Blocking: ovsdbapp has a thread of its own.
    """
    from ovsdbapp.backend.ovs_idl import connection
    from ovsdbapp.schema.ovn_northbound import impl_idl

    idl = connection.OvsdbIdl.from_server(f"unix:{socket}", "OVN_Northbound")
    link = connection.Connection(idl=idl, timeout=_TIMEOUT_SECONDS)

    class Northbound(impl_idl.OvnNbApiIdlImpl):  # type: ignore[misc]
        """ovsdbapp keeps a connection a class: without one of its own, a lab would write to
        another's database."""

        _ovsdb_connection = None

    api = Northbound(link)
    try:
        with api.transaction(check_error=True) as write:
            write.add(api.lr_add(ROUTER, may_exist=True))
            for node in topology.nodes:
                _write_node(api, write, node, pod_mtu_bytes)
            if ipsec:
                write.add(api.db_set("NB_Global", ".", ("ipsec", True)))
        with api.transaction(check_error=True) as write:
            for node in topology.nodes:
                for subnet, host in _egress(node):
                    write.add(
                        api.lr_route_add(
                            ROUTER,
                            subnet,
                            host,
                            port=f"rtos-{node.name}",
                            policy="src-ip",
                            may_exist=True,
                        )
                    )
    finally:
        link.stop()


def _egress(node: Node) -> list[tuple[str, str]]:
    """Each of a node's subnets and the address of its host there."""
    routes = [(str(node.subnet), str(node.management_port.ip))]
    if node.subnet6 and node.management_port6:
        routes.append((str(node.subnet6), str(node.management_port6.ip)))
    return routes


def _addresses(*both: IPv4Interface | IPv6Interface | None) -> list[str]:
    return [str(address.ip) for address in both if address is not None]


def _write_node(api: object, write: object, node: Node, pod_mtu_bytes: int) -> None:
    from typing import Any

    nb: Any = api
    add: Any = write.add  # type: ignore[attr-defined]
    port = f"rtos-{node.name}"
    routers = [str(a) for a in (node.router_address, node.router_address6) if a is not None]
    add(nb.ls_add(node.name, may_exist=True))
    add(nb.db_set("Logical_Switch", node.name, ("other_config", {"subnet": str(node.subnet)})))
    add(nb.lrp_add(ROUTER, port, node.router_mac, routers, may_exist=True))
    add(nb.db_set("Logical_Router_Port", port, ("options", {"gateway_mtu": str(pod_mtu_bytes)})))
    switch_port = f"stor-{node.name}"
    add(nb.lsp_add(node.name, switch_port, may_exist=True))
    add(nb.lsp_set_type(switch_port, "router"))
    add(nb.lsp_set_addresses(switch_port, ["router"]))
    add(nb.lsp_set_options(switch_port, **{"router-port": port}))
    hosts = _addresses(node.management_port, node.management_port6)
    ports = [(f"k8s-{node.name}", node.management_port_mac, hosts)]
    ports += [(p.logical_port, p.mac, _addresses(p.address, p.address6)) for p in node.pods]
    for name, mac, addresses in ports:
        add(nb.lsp_add(node.name, name, may_exist=True))
        add(nb.lsp_set_addresses(name, [" ".join((mac, *addresses))]))
