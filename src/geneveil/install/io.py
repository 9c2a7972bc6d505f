"""Asks an API server, and reads the shipped manifests."""

import time
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import httpx2
from lightkube import ApiError, Client, KubeConfig
from lightkube.codecs import resource_registry
from lightkube.core.exceptions import ConfigError as KubeConfigError
from lightkube.generic_resource import create_global_resource, create_namespaced_resource

from geneveil.install.port import NotServedError
from geneveil.model.errors import ConfigError, DaemonError, RefusedError

FIELD_MANAGER = "geneveil-install"
_GLOBAL = {
    "Namespace": "namespaces",
    "CustomResourceDefinition": "customresourcedefinitions",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings",
    "FlowSchema": "flowschemas",
    "ClusterIPsec": "clusteripsecs",
    "Network": "networks",
    "Node": "nodes",
    "SecurityContextConstraints": "securitycontextconstraints",
}
_NAMESPACED = {
    "ServiceAccount": "serviceaccounts",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "ConfigMap": "configmaps",
    "Deployment": "deployments",
    "DaemonSet": "daemonsets",
    "NetworkPolicy": "networkpolicies",
    "PodDisruptionBudget": "poddisruptionbudgets",
}
_SERVED_SECONDS = 30.0
_POLL_SECONDS = 0.2
_NOT_FOUND, _CONFLICT, _SERVER_ERRORS = 404, 409, 500


def read_manifest(name: str) -> str:
    """A shipped manifest."""
    return resources.files("geneveil.install").joinpath("manifests", name).read_text()


def open_cluster(kubeconfig: Path | None, context: str) -> "KubeCluster":
    """Whatever KUBECONFIG, ~/.kube/config or a Pod's service account leads to.

    Args:
        kubeconfig: a file to take instead.
        context: of the kubeconfig; empty: its current one.
    Raises:
        ConfigError: there is no such file or context.
    """
    try:
        config = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_env()
        chosen = config.get(context or None)
        if chosen is None:
            raise ConfigError("the kubeconfig names no cluster", remedy="give --context")
        return KubeCluster(Client(config=chosen, field_manager=FIELD_MANAGER, trust_env=False))
    except (KubeConfigError, OSError, ValueError) as error:
        raise ConfigError(
            "the cluster cannot be reached",
            why=str(error) or type(error).__name__,
            remedy="set KUBECONFIG, or give --kubeconfig",
        ) from None


class KubeCluster:
    """A `ClusterPort` over lightkube."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def read(self, document: Mapping[str, Any]) -> dict[str, Any] | None:
        metadata = document["metadata"]
        kind = _resource(document)
        try:
            found = _asked(
                lambda: self._client.get(
                    kind, metadata["name"], namespace=metadata.get("namespace")
                ),
                f"read {_named(document)}",
            )
        except _MissingError:
            return None
        return dict(found.to_dict())

    def apply(self, document: Mapping[str, Any], *, dry_run: bool, force: bool) -> dict[str, Any]:
        metadata = document["metadata"]
        wanted = _resource(document).from_dict(dict(document))
        try:
            made = _asked(
                lambda: self._client.apply(
                    wanted,
                    metadata["name"],
                    namespace=metadata.get("namespace"),
                    force=force,
                    dry_run=dry_run,
                ),
                f"apply {_named(document)}",
            )
        except _MissingError as error:
            raise NotServedError(f"cannot apply {_named(document)}", why=str(error)) from None
        return dict(made.to_dict())

    def wait_for_definition(self, name: str) -> None:
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
        }
        until = time.monotonic() + _SERVED_SECONDS
        while time.monotonic() < until:
            found = self.read(definition) or {}
            for condition in found.get("status", {}).get("conditions") or ():
                if condition["type"] == "Established" and condition["status"] == "True":
                    return
            time.sleep(_POLL_SECONDS)
        raise DaemonError(f"{name} is not served after {_SERVED_SECONDS:.0f} s")


class _MissingError(Exception):
    """The API server knows nothing of that name."""


def _asked(ask: Callable[[], Any], what: str) -> Any:
    try:
        return ask()
    except httpx2.HTTPStatusError as error:
        # a kind that is not served has no answer in JSON, and so no ApiError
        code = error.response.status_code
        why = str(error) if isinstance(error, ApiError) else f"the API server says {code}"
        if code == _NOT_FOUND:
            raise _MissingError(why) from None
        if code >= _SERVER_ERRORS:
            raise DaemonError(f"cannot {what}", why=why) from None
        remedy = ""
        if code == _CONFLICT:
            remedy = "--force-conflicts takes these fields over"
        raise RefusedError("refused", f"cannot {what}", why=why, remedy=remedy) from None
    except httpx2.HTTPError as error:
        raise DaemonError(
            f"cannot {what}",
            why=f"the API server does not answer: {error or type(error).__name__}",
            remedy="look at the kubeconfig's server, and try again",
        ) from None


def _resource(document: Mapping[str, Any]) -> Any:
    group, _, version = document["apiVersion"].rpartition("/")
    kind = document["kind"]
    # lightkube itself has a class for a few
    known = resource_registry.get(document["apiVersion"], kind)
    if known is not None:
        return known
    if kind in _GLOBAL:
        return create_global_resource(group, version, kind, _GLOBAL[kind])
    return create_namespaced_resource(group, version, kind, _NAMESPACED[kind])


def _named(document: Mapping[str, Any]) -> str:
    return f"{document['kind']} {document['metadata']['name']}"
