"""Pure: who is in a lab, with which names, addresses and subnets.

The shape is OVN-Kubernetes' in local-gateway mode: one cluster router, a logical switch a node
with router port .1 and management port .2, two pods from .10 on. Underlay and management
addresses are documentation ranges (RFC 5737, RFC 3849): nothing out there is ever meant. With
`IPV6_SUBNETS` the underlay is IPv6 and pods have both families; the management wire stays IPv4.
"""

import ipaddress
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

from geneveil.model.errors import ConfigError

NODES_MIN = 2
NODES_MAX = 8
PODS_A_NODE = 2
UNDERLAY_MTU_BYTES = 1500
CENTRAL = "central"
OPERATOR_PORT = 9443
API_SERVER_PORT = 6443
NORTHBOUND_PORT = 6641
SOUTHBOUND_PORT = 6642
GENEVE_PORT = 6081
UNDERLAY_INTERFACE = "eth0"
# Host numbers within a subnet.
_ROUTER, _MANAGEMENT_PORT, _FIRST_POD = 1, 2, 10
_CENTRAL_HOST, _WITNESS_HOST = 100, 254


@dataclass(frozen=True)
class Subnets:
    """The lab's address ranges.

    Attributes:
        underlay: the wire between nodes; carries cluster traffic alone.
        management: SSH, OVN southbound and enrolment.
        cluster: pods; cut into a /24 a node.
        cluster6: the same in IPv6, for pods of both families; cut into a /64 a node.
    """

    underlay: IPv4Network | IPv6Network = field(default=IPv4Network("192.0.2.0/24"))
    management: IPv4Network = field(default=IPv4Network("198.51.100.0/24"))
    cluster: IPv4Network = field(default=IPv4Network("10.128.0.0/16"))
    cluster6: IPv6Network | None = None


IPV6_SUBNETS = Subnets(
    underlay=IPv6Network("2001:db8:2::/64"), cluster6=IPv6Network("2001:db8:8000::/48")
)


@dataclass(frozen=True)
class Pod:
    """A network namespace behind br-int."""

    name: str
    node: str
    address: IPv4Interface
    mac: str
    address6: IPv6Interface | None = None

    @property
    def newest_address(self) -> IPv4Address | IPv6Address:
        """The IPv6 address where there is one."""
        return (self.address6 or self.address).ip

    @property
    def logical_port(self) -> str:
        return f"default_{self.name}"

    @property
    def namespace(self) -> str:
        return self.name

    @property
    def host_interface(self) -> str:
        """The veth's end in br-int; at most 15 characters (IFNAMSIZ)."""
        return f"v{self.name}"[:15]


@dataclass(frozen=True)
class Node:
    """One chassis."""

    name: str
    number: int
    underlay: IPv4Interface | IPv6Interface
    management: IPv4Interface
    subnet: IPv4Network
    pods: tuple[Pod, ...]
    subnet6: IPv6Network | None = None

    @property
    def chassis(self) -> str:
        return self.name

    @property
    def router_address(self) -> IPv4Interface:
        return _host(self.subnet, _ROUTER)

    @property
    def management_port(self) -> IPv4Interface:
        """`ovn-k8s-mp0`: how the host reaches pods."""
        return _host(self.subnet, _MANAGEMENT_PORT)

    @property
    def router_address6(self) -> IPv6Interface | None:
        return _host6(self.subnet6, _ROUTER) if self.subnet6 else None

    @property
    def management_port6(self) -> IPv6Interface | None:
        return _host6(self.subnet6, _MANAGEMENT_PORT) if self.subnet6 else None

    @property
    def newest_management_port(self) -> IPv4Address | IPv6Address:
        """The IPv6 address where there is one."""
        return (self.management_port6 or self.management_port).ip

    @property
    def management_port_mac(self) -> str:
        return mac(self.number, 0x20)

    @property
    def router_mac(self) -> str:
        return mac(self.number, 0x21)

    @property
    def underlay_mac(self) -> str:
        return mac(self.number, 0x01)

    @property
    def management_mac(self) -> str:
        return mac(self.number, 0x02)


@dataclass(frozen=True)
class Topology:
    """All of one lab."""

    subnets: Subnets
    nodes: tuple[Node, ...]

    @property
    def central_address(self) -> IPv4Interface:
        return _host(self.subnets.management, _CENTRAL_HOST)

    @property
    def witness_address(self) -> IPv4Interface:
        """The host's own end of the management wire."""
        return _host(self.subnets.management, _WITNESS_HOST)

    @property
    def api_server_url(self) -> str:
        """Of a cluster on Kubernetes: at the host's own end of the management wire."""
        return f"https://{self.witness_address.ip}:{API_SERVER_PORT}"

    @property
    def central_mac(self) -> str:
        return mac(_CENTRAL_HOST, 0x02)

    @property
    def guests(self) -> tuple[str, ...]:
        return (CENTRAL, *(node.name for node in self.nodes))

    def node(self, name: str) -> Node:
        for node in self.nodes:
            if node.name == name:
                return node
        raise ConfigError(
            f"no node {name!r} in this lab", remedy=f"its guests are {', '.join(self.guests)}"
        )

    @property
    def hosts_file(self) -> str:
        """/etc/hosts of every machine: each resolves each other's host name."""
        lines = ["127.0.0.1 localhost", f"{self.central_address.ip} {CENTRAL}"]
        lines += [f"{node.underlay.ip} {node.name}" for node in self.nodes]
        return "\n".join(lines) + "\n"


def mac(number: int, role: int) -> str:
    """A locally administered MAC address, the same for the same place in every lab."""
    return f"02:67:76:{role:02x}:00:{number:02x}"


def _host(subnet: IPv4Network, number: int) -> IPv4Interface:
    return IPv4Interface(f"{subnet.network_address + number}/{subnet.prefixlen}")


def _host6(subnet: IPv6Network, number: int) -> IPv6Interface:
    return IPv6Interface(f"{subnet.network_address + number}/{subnet.prefixlen}")


def _underlay_host(subnet: IPv4Network | IPv6Network, number: int) -> IPv4Interface | IPv6Interface:
    return _host(subnet, number) if isinstance(subnet, IPv4Network) else _host6(subnet, number)


def parse_subnet(text: str, option: str) -> IPv4Network:
    """Read one subnet that a person wrote.

    Raises:
        ConfigError: not an IPv4 subnet; names the option and the text.
    """
    try:
        return IPv4Network(text)
    except (ipaddress.AddressValueError, ipaddress.NetmaskValueError, ValueError) as error:
        raise ConfigError(
            f"{option}: {text!r} is not an IPv4 subnet",
            why=str(error),
            remedy="write it like 192.0.2.0/24",
        ) from error


def check_subnets(subnets: Subnets) -> None:
    """Refuse ranges that overlap or are too small.

    Raises:
        ConfigError: names both ranges, or the one that is too small.
    """
    named: dict[str, IPv4Network | IPv6Network] = {
        "--underlay": subnets.underlay,
        "--management": subnets.management,
        "--cluster-network": subnets.cluster,
    }
    pairs = list(named.items())
    for index, (first, a) in enumerate(pairs):
        for second, b in pairs[index + 1 :]:
            if a.overlaps(b):
                raise ConfigError(
                    f"{first} {a} and {second} {b} overlap",
                    why="a packet for one could be taken for the other's",
                    remedy="choose ranges that share no address",
                )
    for option in ("--underlay", "--management"):
        longest = 24 if named[option].version == 4 else 64
        if named[option].prefixlen > longest:
            raise ConfigError(
                f"{option} {named[option]} is too small", remedy=f"give a /{longest} or more"
            )
    if subnets.cluster.prefixlen > 20:
        raise ConfigError(
            f"--cluster-network {subnets.cluster} is too small",
            why="every node gets a /24 of it",
            remedy="give a /20 or more",
        )


def plan_topology(nodes: int, subnets: Subnets | None = None) -> Topology:
    """Name and number everything in a lab of `nodes` nodes.

    Raises:
        ConfigError: a number of nodes outside 2 to 8; ranges that overlap.
    """
    if not NODES_MIN <= nodes <= NODES_MAX:
        raise ConfigError(
            f"--nodes {nodes}: a lab has {NODES_MIN} to {NODES_MAX} nodes",
            why="one node has nobody to talk to, and each takes a kernel of its own",
        )
    subnets = subnets or Subnets()
    check_subnets(subnets)
    return Topology(subnets, tuple(_plan_node(n, subnets) for n in range(1, nodes + 1)))


def _plan_node(number: int, subnets: Subnets) -> Node:
    name = f"node{number}"
    base = int(subnets.cluster.network_address) + number * 256
    subnet = IPv4Network((IPv4Address(base), 24))
    subnet6 = None
    if subnets.cluster6 is not None:
        base6 = int(subnets.cluster6.network_address) + (number << 64)
        subnet6 = IPv6Network((IPv6Address(base6), 64))
    pods = tuple(
        Pod(
            f"{name}-pod{index + 1}",
            name,
            _host(subnet, _FIRST_POD + index),
            mac(number, 0x30 + index),
            _host6(subnet6, _FIRST_POD + index) if subnet6 else None,
        )
        for index in range(PODS_A_NODE)
    )
    underlay = _underlay_host(subnets.underlay, number)
    management = _host(subnets.management, number)
    return Node(name, number, underlay, management, subnet, pods, subnet6)
