"""The Pod that takes geneveil off one node of a cluster. Pure.

It is the guard's container with another command: the same image, rights and folders of the host,
as they are in this cluster. It comes to the node only when the agent's Pod is gone: both would have
the kernel's IPsec and the node's files.

charon goes with the agent's Pod, and what it made in the kernel stays, with nobody to tell whose it
is. So this Pod is done only after a boot, which leaves nothing of it; until then it fails, is tried
again, and the guard stands.
"""

import copy
from collections.abc import Mapping
from typing import Any

from geneveil.install.render import Document

LABEL = "geneveil.io/decommission"
"""A Node that has it gets no agent (deploy/chart, agent.yaml)."""

_HOST = {"host-scripts": "/etc/geneveil", "host-units": "/etc/systemd/system"}
_HOST_ROOT = "/host"


def render_decommission_pod(daemon_set: Mapping[str, Any], node: str) -> Document:
    """The Pod for a node.

    Args:
        daemon_set: the agents', as the cluster has it.
    """
    template = daemon_set["spec"]["template"]
    pod = copy.deepcopy(template["spec"])
    (guard,) = (one for one in pod["initContainers"] if one["name"] == "guard")
    mounts = [one for one in guard["volumeMounts"] if one["name"] not in _HOST]
    mounts += [{"name": n, "mountPath": f"{_HOST_ROOT}{path}"} for n, path in _HOST.items()]
    used = {one["name"] for one in mounts} - set(_HOST)
    volumes = [one for one in pod["volumes"] if one["name"] in used]
    folder = "DirectoryOrCreate"
    volumes += [{"name": n, "hostPath": {"path": p, "type": folder}} for n, p in _HOST.items()]
    args = ["node", "decommission", "--yes", "--config=/etc/geneveil/agent.yaml"]
    container = {
        **guard,
        "name": "decommission",
        "args": [*args, f"--host-root={_HOST_ROOT}"],
        "volumeMounts": mounts,
    }
    kept = ("serviceAccountName", "automountServiceAccountToken", "enableServiceLinks",
            "hostNetwork", "dnsPolicy", "priorityClassName", "imagePullSecrets", "tolerations",
            "securityContext")  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"geneveil-decommission-{node}",
            "namespace": daemon_set["metadata"]["namespace"],
            "labels": {"app.kubernetes.io/name": "geneveil"},
            "annotations": _annotations(template),
        },
        "spec": {
            **{key: pod[key] for key in kept if key in pod},
            "restartPolicy": "OnFailure",
            "affinity": _affinity(daemon_set["spec"]["selector"], node),
            "containers": [container],
            "volumes": volumes,
        },
    }


def _annotations(template: Mapping[str, Any]) -> dict[str, str]:
    there: Mapping[str, str] = template["metadata"].get("annotations") or {}
    return {key: value for key, value in there.items() if key.endswith("openshift.io/required-scc")}


def _affinity(agents: Mapping[str, Any], node: str) -> dict[str, Any]:
    """This node, and no agent beside it. By the scheduler, and not by spec.nodeName: then nobody
    would ask whether an agent is there."""
    by_name = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = {"nodeSelectorTerms": [{"matchFields": [by_name]}]}
    apart = {"topologyKey": "kubernetes.io/hostname", "labelSelector": dict(agents)}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    return {"nodeAffinity": {required: terms}, "podAntiAffinity": {required: [apart]}}
