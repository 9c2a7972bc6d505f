"""OKD's own switch: what it asks for, and until when."""

from datetime import timedelta
from typing import Any

import pytest

from geneveil.install.okd import parse_okd_manifest
from geneveil.kube.kinds import CLUSTER_IPSECS, DEFINITIONS, OPENSHIFT_NETWORKS, OWN_DEFINITIONS
from geneveil.kube.port import Document
from geneveil.model.cluster import Encapsulation, Mode
from geneveil.model.errors import ConfigError
from geneveil.operator.confirmations import Confirmations
from geneveil.operator.kubernetes.cluster_cache import ClusterCache
from geneveil.operator.kubernetes.foundation import Means, lay_foundation
from geneveil.operator.kubernetes.store import Place
from geneveil.operator.kubernetes.switch import INSTALLING, read_switch, switch_of_openshift
from geneveil.operator.registry import read_cluster
from tests.memory_kube_api import Memory
from tests.unit.test_operator_kubernetes_forgetting import YEAR, Settable
from tests.unit.test_operator_kubernetes_state import NOW

ALWAYS = {"ipsecConfig": {"mode": "Full", "full": {"encapsulation": "Always"}}}


def _network(config: dict[str, Any]) -> Document:
    default = {"type": "OVNKubernetes", "ovnKubernetesConfig": config}
    return {
        "apiVersion": "operator.openshift.io/v1",
        "kind": "Network",
        "metadata": {"name": "cluster", "uid": "u", "managedFields": [{"manager": "x"}]},
        "spec": {"defaultNetwork": default, "logLevel": "Normal"},
        "status": {"conditions": []},
    }


@pytest.mark.parametrize(
    ("config", "mode", "ports", "encapsulation"),
    [
        ({"ipsecConfig": {}}, Mode.FULL, (6081,), Encapsulation.AUTO),
        (
            {"ipsecConfig": {"mode": "Full"}, "genevePort": 6082},
            Mode.FULL,
            (6082,),
            Encapsulation.AUTO,
        ),
        (ALWAYS, Mode.FULL, (6081,), Encapsulation.ALWAYS),
        ({"ipsecConfig": {"mode": "Disabled"}}, Mode.DISABLED, (6081,), Encapsulation.AUTO),
        ({}, Mode.DISABLED, (6081,), Encapsulation.AUTO),
    ],
)
def test_what_okds_switch_asks_for(
    config: dict[str, Any], mode: Mode, ports: tuple[int, ...], encapsulation: Encapsulation
) -> None:
    spec = read_switch(switch_of_openshift(_network(config))).spec
    assert (Mode(spec.mode), tuple(spec.geneve_ports)) == (mode, ports)
    assert Encapsulation(spec.encapsulation) is encapsulation


def test_okds_switch_that_leaves_ipsec_to_another_is_an_error() -> None:
    with pytest.raises(ConfigError, match="External"):
        switch_of_openshift(_network({"ipsecConfig": {"mode": "External"}}))


class Cluster:
    """An API server's memory with OKD's Network, and geneveil's CRDs for so long."""

    def __init__(self, config: dict[str, Any], installed: timedelta) -> None:
        self.memory = Memory()
        self.memory.create(OPENSHIFT_NETWORKS, _network(config))
        made = f"{NOW - installed:%Y-%m-%dT%H:%M:%SZ}"
        definition = {"metadata": {"name": OWN_DEFINITIONS[0], "creationTimestamp": made}}
        self.memory.create(DEFINITIONS, definition)

    def sealed(self) -> Mode | None:
        """What an operator seals, whose own clock is years ahead."""
        draw = lambda size: b"\x07" * size  # noqa: E731
        means = Means(
            Place(self.memory, "n"),
            Settable(NOW + 3 * YEAR),
            draw,
            ClusterCache(),
            Confirmations(),
            server_now=lambda own: own - 3 * YEAR,
        )
        base = lay_foundation(means)
        return read_cluster(base.store).settings.mode if base else None


OFF: dict[str, Any] = {"ipsecConfig": {"mode": "Disabled"}}
ON: dict[str, Any] = {"ipsecConfig": {}}
EARLY, LATE = INSTALLING - timedelta(minutes=1), INSTALLING + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("config", "installed", "mode"),
    [
        (ON, EARLY, Mode.FULL),
        (ON, LATE, Mode.FULL),  # the operator could not run before
        (OFF, EARLY, None),  # somebody may be about to make a ClusterIPsec
        (OFF, LATE, Mode.DISABLED),
        ({}, LATE, Mode.DISABLED),
    ],
)
def test_what_is_sealed_where_nobody_made_a_cluster_ipsec(
    config: dict[str, Any], installed: timedelta, mode: Mode | None
) -> None:
    cluster = Cluster(config, installed)
    assert cluster.sealed() is mode
    assert ((CLUSTER_IPSECS.plural, "cluster") in cluster.memory.objects) is (mode is not None)


def test_a_switch_that_is_turned_on_later_turns_nothing_on() -> None:
    cluster = Cluster(OFF, LATE)
    assert cluster.sealed() is Mode.DISABLED
    network = _network(ON)
    network["metadata"]["resourceVersion"] = cluster.memory.read(OPENSHIFT_NETWORKS, "cluster")[
        "metadata"
    ]["resourceVersion"]
    cluster.memory.replace(OPENSHIFT_NETWORKS, network)
    assert cluster.sealed() is Mode.DISABLED


def test_the_manifest_and_the_object_are_read_alike() -> None:
    manifest = (
        "apiVersion: operator.openshift.io/v1\nkind: Network\nmetadata: {name: cluster}\nspec:\n"
        "  defaultNetwork:\n    type: OVNKubernetes\n    ovnKubernetesConfig:\n"
        "      genevePort: 6082\n"
        "      ipsecConfig: {mode: Full, full: {encapsulation: Always}}\n"
    )
    wish = parse_okd_manifest(manifest, "net.yml")
    made = switch_of_openshift(_network({**ALWAYS, "genevePort": 6082}))
    assert made["spec"] == {"mode": wish.mode.value, **wish.spec}
