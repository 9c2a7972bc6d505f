"""Kubernetes objects that a cluster's other parts would make. Pure; plain JSON documents."""

from collections.abc import Mapping
from typing import Any

NAMESPACE = "geneveil-system"
AGENT = "geneveil-agent"
OPERATOR = "geneveil-operator"
# Any well-formed reference: no kubelet ever pulls it.
_NO_IMAGE = "localhost/never-pulled:1"
_TOKEN = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def service_account(name: str, inside: str = NAMESPACE) -> dict[str, Any]:
    metadata = {"name": name, "namespace": inside}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def node(name: str, annotations: Mapping[str, str]) -> dict[str, Any]:
    """A Node as its kubelet would register it."""
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    metadata = {"name": name, "labels": labels, "annotations": dict(annotations)}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata}


def pod(name: str, inside: str, account: str, on_node: str) -> dict[str, Any]:
    """A Pod that is bound to a Node already, as a DaemonSet's Pods are once scheduled."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": inside, "labels": {"app": account}},
        "spec": {
            "nodeName": on_node,
            "hostNetwork": True,
            "serviceAccountName": account,
            "containers": [{"name": "main", "image": _NO_IMAGE}],
            # A kubelet gets tokens only for audiences that its Pods ask for; the service accounts
            # are told to mount none.
            "volumes": [{"name": "identity", "projected": {"sources": [_TOKEN]}}],
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": 0,
        },
    }


def token_request(
    bound_to: Mapping[str, Any], seconds: int, audiences: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What a kubelet sends for a Pod's token; the API server's least is 600 seconds.

    Args:
        bound_to: the Pod as the API server returned it.
    """
    reference = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": bound_to["metadata"]["name"],
        "uid": bound_to["metadata"]["uid"],
    }
    spec: dict[str, Any] = {"expirationSeconds": seconds, "boundObjectRef": reference}
    if audiences:
        spec["audiences"] = list(audiences)
    return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
