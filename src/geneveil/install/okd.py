"""The installer's manifest of OKD and OpenShift as a wish. Pure.

`Network.operator.openshift.io` named `cluster` has the switch in
spec.defaultNetwork.ovnKubernetesConfig.ipsecConfig: absent is off, `{}` and `mode: Full` are on
(openshift/api, operator/v1/types_network.go). `mode: External` leaves IPsec to somebody else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from geneveil.model.cluster import Encapsulation, Mode
from geneveil.model.yaml_lines import YamlSection, parse_yaml

HIGHEST_PORT = 65535


@dataclass(frozen=True)
class OkdSwitch:
    """What the manifest says.

    Attributes:
        spec: the fields of a ClusterIPsec's spec that it sets, besides mode.
    """

    mode: Mode
    spec: dict[str, Any]


def parse_okd_manifest(text: str, file: str) -> OkdSwitch:
    """Read cluster-network-03-config.yml.

    Raises:
        ConfigError: it is another object, another network, or IPsec is External; names file, line
            and field. Fields that are not about IPsec are not looked at.
    """
    top = parse_yaml(text, file)
    top.expect("apiVersion", "operator.openshift.io/v1")
    top.expect("kind", "Network")
    top.section("metadata").expect("name", "cluster")
    network = top.section("spec").section("defaultNetwork")
    network_type = network.text("type", "OVNKubernetes")
    if network_type != "OVNKubernetes":
        raise network.refuse("type", f"geneveil is for OVNKubernetes, not {network_type}")
    ovn = network.section("ovnKubernetesConfig")
    spec: dict[str, Any] = {}
    if ovn.has("genevePort"):
        spec["genevePorts"] = [_port(ovn)]
    if not ovn.has("ipsecConfig"):
        return OkdSwitch(Mode.DISABLED, spec)
    ipsec = ovn.section("ipsecConfig")
    mode = _mode(ipsec)
    full = ipsec.section("full")
    if full.has("encapsulation"):
        if mode is Mode.DISABLED:
            raise ipsec.refuse("full", "it is only for mode: Full")
        spec["encapsulation"] = full.choice("encapsulation", Encapsulation).value
    return OkdSwitch(mode, spec)


def parse_okd_network(network: Mapping[str, Any]) -> OkdSwitch:
    """Read the object that a cluster has. The manifest and the object are the same document.

    Raises:
        ConfigError: as `parse_okd_manifest`.
    """
    document = {key: network.get(key) for key in ("apiVersion", "kind", "spec")}
    text = yaml.safe_dump({**document, "metadata": {"name": network["metadata"]["name"]}})
    return parse_okd_manifest(text, "Network.operator.openshift.io cluster")


def _mode(ipsec: YamlSection) -> Mode:
    if not ipsec.has("mode"):
        return Mode.FULL
    if ipsec.text("mode") == "External":
        raise ipsec.refuse(
            "mode",
            "External leaves IPsec to a configuration of your own",
            "geneveil cannot stand beside it; write mode: Full or mode: Disabled",
        )
    return ipsec.choice("mode", Mode)


def _port(ovn: YamlSection) -> int:
    port = ovn.integer("genevePort")
    if not 0 < port <= HIGHEST_PORT:
        raise ovn.refuse("genevePort", f"{port} is not a UDP port")
    return port
