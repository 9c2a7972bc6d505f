"""Installs geneveil on a lab's API server, as a cluster's installer would: the switch first."""

import time
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.kube import objects
from lab.kube.cluster import await_established, make_agent_pod, make_node
from lab.kube.in_lab import OPERATOR_REPLICAS, PODS_MADE
from lab.kube.server import ApiServer
from lab.topology import GENEVE_PORT, Topology

DEPLOY = Path(__file__).parents[2] / "deploy"
CHASSIS_ANNOTATION = "k8s.ovn.org/node-chassis-id"
_READY_SECONDS = 120.0
_POLL_SECONDS = 0.2


def await_ready(server: ApiServer, seconds: float = _READY_SECONDS) -> None:
    """Wait until the API server says that it is ready.

    Raises:
        LabError: it does not in time; with its last words.
    """
    end = time.monotonic() + seconds
    while True:
        done = server.kubectl("get", "--raw=/readyz", "--request-timeout=5s")
        if done.returncode == 0 and done.stdout.strip() == "ok":
            return
        if time.monotonic() > end:
            said = (done.stderr or done.stdout).strip()[-300:]
            why = f"{said}; {server.api.last_lines()}"
            raise LabError(f"the API server was not ready within {seconds:g} s", why=why)
        time.sleep(_POLL_SECONDS)


def install(server: ApiServer, topology: Topology, encapsulation: str) -> None:
    """CRDs, the ClusterIPsec with mode Full, then all the rest of deploy/, then Nodes and Pods."""
    await_ready(server)
    _apply(server, str(DEPLOY / "crds"))
    await_established(server)
    server.kubectl_json(*_APPLY, "-", stdin=cluster_ipsec(encapsulation))
    _apply(server, str(DEPLOY / "manifests" / "full.yaml"))
    for node in topology.nodes:
        make_node(server, node.name, {CHASSIS_ANNOTATION: node.chassis})
        make_agent_pod(server, node.name)
    for replica in range(OPERATOR_REPLICAS):
        make_agent_pod(
            server,
            topology.nodes[replica].name,
            name=f"{objects.OPERATOR}-{replica}",
            account=objects.OPERATOR,
        )
    (server.layout.folder / PODS_MADE).touch()


_APPLY = ("apply", "--server-side", "--field-manager=installer", "-f")


def cluster_ipsec(encapsulation: str) -> dict[str, Any]:
    """The switch, on."""
    return {
        "apiVersion": "geneveil.io/v1alpha1",
        "kind": "ClusterIPsec",
        "metadata": {"name": "cluster"},
        "spec": {"mode": "Full", "encapsulation": encapsulation, "genevePorts": [GENEVE_PORT]},
    }


def delete_node(server: ApiServer, name: str) -> None:
    """Take a Node out of the cluster, with the Pod on it, as a controller manager would."""
    _must(server, "delete", "node", name, "--wait=false")
    pod = f"{objects.AGENT}-{name}"
    place = ("--namespace", objects.NAMESPACE)
    _must(server, "delete", "pod", pod, *place, "--force", "--grace-period=0")


def _apply(server: ApiServer, what: str) -> None:
    _must(server, *_APPLY, what)


def _must(server: ApiServer, *arguments: str) -> str:
    done = server.kubectl(*arguments)
    if done.returncode:
        raise LabError(f"kubectl {' '.join(arguments)} failed", why=done.stderr.strip()[-600:])
    return done.stdout
