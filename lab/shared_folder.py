"""Pure: the files that make a guest what it is, as they stand in its /lab.

One folder a guest on the host, mounted over hostfs: environment, hosts file, SSH keys, pods and
the configuration of geneveil as an installer would have written it.
"""

from dataclasses import dataclass
from pathlib import Path

from geneveil.model.cluster import Encapsulation
from geneveil.model.mtu import Overlay, pod_mtu_bytes
from lab.topology import (
    CENTRAL,
    GENEVE_PORT,
    NORTHBOUND_PORT,
    OPERATOR_PORT,
    SOUTHBOUND_PORT,
    UNDERLAY_MTU_BYTES,
    Node,
    Topology,
)

GUEST_FILES = Path(__file__).parent / "guest"
KUBE_FOLDER = "/disk/kube"
"""In a guest: what a kubelet would put into the agent's and the operators' Pods."""


@dataclass(frozen=True)
class Cluster:
    """What kind of cluster is being installed.

    Attributes:
        ipsec: installed with IPsec on; there is no switching later.
        encapsulation: "Auto" or "Always".
        pod_mtu_bytes: MTU of pods and of the management port.
        kubernetes: nodes enrol through a Kubernetes API server beside the guests.
        by_systemd: nodes are booted by systemd, with the distribution's units and ours.
    """

    ipsec: bool
    encapsulation: str
    pod_mtu_bytes: int
    kubernetes: bool = False
    by_systemd: bool = False


def plan_cluster(
    ipsec: bool,
    encapsulation: str,
    *,
    ipv6: bool = False,
    kubernetes: bool = False,
    by_systemd: bool = False,
) -> Cluster:
    """The cluster's settings, with the pods' MTU computed from the underlay's.

    Args:
        ipv6: the underlay is IPv6.
    """
    overlay = Overlay(UNDERLAY_MTU_BYTES, ipv6, ipsec, Encapsulation(encapsulation))
    return Cluster(ipsec, encapsulation, pod_mtu_bytes(overlay), kubernetes, by_systemd)


def central_files(topology: Topology, cluster: Cluster, folders: dict[str, Path]) -> dict[str, str]:
    """Files of the guest that runs OVN central and the operator: relative path -> text."""
    environment = _environment(
        {
            "NAME": CENTRAL,
            "ROLE": "central",
            "UNDERLAY": "",
            "MANAGEMENT": str(topology.central_address),
            "STATE_FOLDER": "/var/lib/geneveil-operator",
            "OPERATOR": _operator_kind(cluster),
            "GUARD": "no",
            "NORTHBOUND_PORT": str(NORTHBOUND_PORT),
            "SOUTHBOUND_PORT": str(SOUTHBOUND_PORT),
        },
        folders,
    )
    files = {"guest.env": environment, "hosts": topology.hosts_file}
    if cluster.ipsec and not cluster.kubernetes:
        files["etc-geneveil/cluster.yaml"] = cluster_yaml(topology, cluster)
    return files


def node_files(
    node: Node, topology: Topology, cluster: Cluster, folders: dict[str, Path]
) -> dict[str, str]:
    """Files of a node."""
    environment = _environment(
        {
            "NAME": node.name,
            "ROLE": "node",
            "INIT": "systemd" if cluster.by_systemd else "",
            "CHASSIS": node.chassis,
            "UNDERLAY": str(node.underlay),
            "UNDERLAY_MTU": str(UNDERLAY_MTU_BYTES),
            "MANAGEMENT": str(node.management),
            "CENTRAL": str(topology.central_address.ip),
            "SOUTHBOUND_PORT": str(SOUTHBOUND_PORT),
            "STATE_FOLDER": "/var/lib/geneveil",
            "GUARD": "yes" if cluster.ipsec else "no",
            "POD_MTU": str(cluster.pod_mtu_bytes),
            "MP0": str(node.management_port),
            "MP0_MAC": node.management_port_mac,
            "ROUTER": str(node.router_address.ip),
            "CLUSTER_NETWORK": str(topology.subnets.cluster),
            "MP0_6": str(node.management_port6 or ""),
            "ROUTER_6": str(node.router_address6.ip) if node.router_address6 else "",
            "CLUSTER_NETWORK_6": str(topology.subnets.cluster6 or ""),
        },
        folders,
    )
    files = {
        "guest.env": environment,
        "hosts": topology.hosts_file,
        "pods": pods_script(node, cluster.pod_mtu_bytes),
    }
    if cluster.ipsec:
        files["etc-geneveil/agent.yaml"] = agent_yaml(node, topology, cluster)
    return files


def pods_script(node: Node, pod_mtu_bytes: int) -> str:
    """Shell: every pod of a node as a network namespace with a veth in br-int."""
    lines = []
    vsctl = []
    for pod in node.pods:
        inner, outer = "eth0", pod.host_interface
        lines += [
            f"ip netns add {pod.namespace}",
            f"ip link add {outer} mtu {pod_mtu_bytes} type veth peer name {inner} "
            f"netns {pod.namespace} address {pod.mac} mtu {pod_mtu_bytes}",
            f"ip link set {outer} up",
            f"ip -n {pod.namespace} -batch - <<B",
            "link set lo up",
            f"link set {inner} up",
            f"addr add {pod.address} dev {inner}",
            f"route add default via {node.router_address.ip}",
        ]
        if pod.address6 and node.router_address6:
            lines += [
                f"addr add {pod.address6} dev {inner} nodad",
                f"route add ::/0 via {node.router_address6.ip}",
            ]
        lines.append("B")
        vsctl.append(
            f"--may-exist add-port br-int {outer} -- set interface {outer} "
            f"external_ids:iface-id={pod.logical_port}"
        )
    lines.append("ovs-vsctl " + " -- ".join(vsctl))
    return "\n".join(lines) + "\n"


def cluster_yaml(topology: Topology, cluster: Cluster) -> str:
    """The operator's configuration, as an installer writes it."""
    return (
        "apiVersion: geneveil.io/v1alpha1\n"
        "kind: ClusterIPsec\n"
        "metadata:\n"
        "  name: cluster\n"
        "spec:\n"
        "  mode: Full\n"
        f"  encapsulation: {cluster.encapsulation}\n"
        f"  genevePorts: [{GENEVE_PORT}]\n"
        "  operator:\n"
        f'    listen: "0.0.0.0:{OPERATOR_PORT}"\n'
        f'    names: ["{CENTRAL}", "{topology.central_address.ip}"]\n'
    )


def agent_yaml(node: Node, topology: Topology, cluster: Cluster) -> str:
    """The agent's configuration, as an installer writes it on every node."""
    head = (
        "apiVersion: geneveil.io/v1alpha1\n"
        "kind: AgentConfig\n"
        "mode: Full\n"
        f"genevePorts: [{GENEVE_PORT}]\n"
    )
    if cluster.kubernetes:
        return head + (
            "controlPlane: kubernetes\n"
            "kubernetes:\n"
            f"  apiServer: {topology.api_server_url}\n"
            f"  caFile: {KUBE_FOLDER}/ca.crt\n"
            f"  tokenFile: {KUBE_FOLDER}/token\n"
            f"  nodeName: {node.name}\n"
        )
    return head + (
        f"operator:\n  url: https://{CENTRAL}:{OPERATOR_PORT}\n  tokenFile: /etc/geneveil/token\n"
    )


def _operator_kind(cluster: Cluster) -> str:
    if not cluster.ipsec:
        return "no"
    return "kubernetes" if cluster.kubernetes else "yes"


def _environment(values: dict[str, str], folders: dict[str, Path]) -> str:
    named = {f"LAB_{key}": value for key, value in values.items()}
    named |= {f"LAB_{key.upper()}": str(path) for key, path in folders.items()}
    return "".join(f"{key}='{value}'\n" for key, value in named.items())
