"""APIs of OpenShift on an API server that is none: served, with whatever fields.

What OpenShift's own schemas and admission say of our objects is not seen here; `SecurityContext
Constraints` are judged in tests/unit/test_install_openshift.py.
"""

from typing import Any

from lab.kube.cluster import await_established
from lab.kube.server import ApiServer

_FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
NETWORK = ("operator.openshift.io", "Network", "networks")
CONSTRAINTS = (
    "security.openshift.io",
    "SecurityContextConstraints",
    "securitycontextconstraints",
)
MACHINE_CONFIG = ("machineconfiguration.openshift.io", "MachineConfig", "machineconfigs")


def serve(server: ApiServer, group: str, kind: str, plural: str) -> None:
    """Make a kind, of no namespace, whose objects may have any fields."""
    version = {"name": "v1", "served": True, "storage": True}
    definition: dict[str, Any] = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Cluster",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{**version, "schema": {"openAPIV3Schema": _FREE}}],
        },
    }
    server.kubectl_json("create", "-f", "-", stdin=definition)
    await_established(server, f"crd/{plural}.{group}")


def network(**ovn: Any) -> dict[str, Any]:
    """The cluster's Network, with what OVN-Kubernetes is told."""
    return {
        "apiVersion": "operator.openshift.io/v1",
        "kind": "Network",
        "metadata": {"name": "cluster"},
        "spec": {"defaultNetwork": {"type": "OVNKubernetes", "ovnKubernetesConfig": ovn}},
    }
