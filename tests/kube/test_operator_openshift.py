"""OKD's own switch, on a real API server that has that API."""

from pathlib import Path

from geneveil.kube.io import open_client
from geneveil.kube.kinds import CLUSTER_IPSECS
from lab.kube.arguments import Programs
from lab.kube.cluster import await_established
from lab.kube.server import ApiServer
from tests.kube.operator_bench import (
    FakeAgent,
    condition,
    install,
    read_trust,
    replica,
    wait_for,
)

NETWORK_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "networks.operator.openshift.io"},
    "spec": {
        "group": "operator.openshift.io",
        "scope": "Cluster",
        "names": {"kind": "Network", "plural": "networks", "singular": "network"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}
NETWORK = {
    "apiVersion": "operator.openshift.io/v1",
    "kind": "Network",
    "metadata": {"name": "cluster"},
    "spec": {
        "defaultNetwork": {
            "type": "OVNKubernetes",
            "ovnKubernetesConfig": {"genevePort": 6082, "ipsecConfig": {}},
        }
    },
}


def test_the_installers_network_is_the_switch(
    own_api_server: ApiServer, kube_programs: Programs, tmp_path: Path
) -> None:
    server = own_api_server
    install(server, kube_programs.helm)
    server.kubectl_json("create", "-f", "-", stdin=NETWORK_CRD)
    await_established(server, "crd/networks.operator.openshift.io")
    server.kubectl_json("create", "-f", "-", stdin=NETWORK)
    admin = open_client(server.kubeconfig())
    agent = FakeAgent(server, "node", "chassis")
    with replica(server, tmp_path, "one"):
        made = wait_for("the ClusterIPsec", lambda: admin.find(CLUSTER_IPSECS, "cluster"))
        assert made is not None
        assert (made["spec"]["mode"], made["spec"]["genevePorts"]) == ("Full", [6082])
        agent.enrol()
        assert read_trust(admin)["settings"]["genevePorts"] == [6082]


def test_without_a_switch_nothing_is_made(
    own_api_server: ApiServer, kube_programs: Programs, tmp_path: Path
) -> None:
    install(own_api_server, kube_programs.helm)
    admin = open_client(own_api_server.kubeconfig())
    off = {"metadata": {"name": "cluster"}, "spec": {}}
    with replica(own_api_server, tmp_path, "one") as operator:
        wait_for("it leads", lambda: operator.said('event="leads"'))
        assert read_trust(admin) == {}
        admin.create(CLUSTER_IPSECS, off)
        told = wait_for("the status", lambda: condition(admin, "Available")[1])
        assert told == "Disabled"
        assert read_trust(admin) == {}
        assert operator.stop() == 0
