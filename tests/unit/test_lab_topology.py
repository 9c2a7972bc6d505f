"""The lab's names and addresses, and what it refuses."""

from ipaddress import IPv4Network, ip_address

import pytest

from geneveil.model.errors import ConfigError
from lab.topology import IPV6_SUBNETS, Subnets, check_subnets, parse_subnet, plan_topology


def test_every_node_has_its_own_addresses() -> None:
    topology = plan_topology(8)
    addresses = [node.underlay.ip for node in topology.nodes]
    addresses += [node.management.ip for node in topology.nodes]
    addresses += [node.management_port.ip for node in topology.nodes]
    addresses += [node.router_address.ip for node in topology.nodes]
    addresses += [pod.address.ip for node in topology.nodes for pod in node.pods]
    assert len(addresses) == len(set(addresses)) == 8 * 6
    macs = [node.underlay_mac for node in topology.nodes]
    macs += [pod.mac for node in topology.nodes for pod in node.pods]
    assert len(macs) == len(set(macs))


def test_every_machine_resolves_every_other() -> None:
    topology = plan_topology(3)
    for guest in topology.guests:
        assert guest in topology.hosts_file.split()


def test_interface_names_fit_the_kernel() -> None:
    for node in plan_topology(8).nodes:
        for pod in node.pods:
            assert len(pod.host_interface) <= 15


@pytest.mark.parametrize("nodes", [-1, 0, 1, 9])
def test_refuses_a_number_of_nodes_out_of_range(nodes: int) -> None:
    with pytest.raises(ConfigError, match=f"--nodes {nodes}: a lab has 2 to 8 nodes"):
        plan_topology(nodes)


@pytest.mark.parametrize(
    ("field", "network", "words"),
    [
        ("cluster", "192.0.0.0/16", "--underlay 192.0.2.0/24 and --cluster-network 192.0.0.0/16"),
        ("management", "192.0.2.0/24", "--underlay 192.0.2.0/24 and --management 192.0.2.0/24"),
        ("cluster", "198.51.0.0/16", "--management 198.51.100.0/24 and --cluster-network"),
    ],
)
def test_overlapping_subnets_are_refused_by_name(field: str, network: str, words: str) -> None:
    subnets = Subnets(**{field: IPv4Network(network)})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="overlap") as caught:
        check_subnets(subnets)
    assert words in caught.value.what


def test_narrow_subnets_are_refused() -> None:
    with pytest.raises(ConfigError, match="is too small"):
        check_subnets(Subnets(underlay=IPv4Network("192.0.2.0/25")))
    with pytest.raises(ConfigError, match="is too small"):
        check_subnets(Subnets(cluster=IPv4Network("10.0.0.0/24")))


@pytest.mark.parametrize("text", ["", "192.0.2.0", "192.0.2.1/24", "2001:db8::/32", "x"])
def test_what_is_no_subnet_is_named(text: str) -> None:
    if text == "192.0.2.0":
        assert parse_subnet(text, "--underlay").prefixlen == 32
        return
    with pytest.raises(ConfigError, match="--underlay"):
        parse_subnet(text, "--underlay")


def test_with_an_ipv6_underlay_every_end_has_an_ipv6_address_of_its_own() -> None:
    topology = plan_topology(8, IPV6_SUBNETS)
    addresses = [node.underlay.ip for node in topology.nodes]
    addresses += [node.newest_management_port for node in topology.nodes]
    addresses += [node.router_address6.ip for node in topology.nodes if node.router_address6]
    addresses += [pod.newest_address for node in topology.nodes for pod in node.pods]
    assert len(set(addresses)) == len(addresses) == 8 * 5
    assert all(address.version == 6 for address in addresses)
    for node in topology.nodes:
        assert node.subnet6 is not None
        assert all(pod.newest_address in node.subnet6 for pod in node.pods)
        assert all(pod.address.ip in node.subnet for pod in node.pods)
    assert f"{ip_address('2001:db8:2::1')} node1" in topology.hosts_file
