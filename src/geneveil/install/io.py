"""Asks an API server, and reads the shipped manifests."""

import json
import time
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import httpx2
import yaml
from lightkube import ApiError, Client, KubeConfig
from lightkube.codecs import resource_registry
from lightkube.config.models import NameValue, User
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
_PLUGIN_API, _PLUGIN_API_OF_LIGHTKUBE = (
    f"client.authentication.k8s.io/{version}" for version in ("v1", "v1beta1")
)
_BAD_KUBECONFIG = (
    KubeConfigError,
    OSError,
    ValueError,
    yaml.YAMLError,
    # lightkube takes it for granted that all is there, and of the right type
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
)


def read_manifest(name: str) -> str:
    """A shipped manifest."""
    return resources.files("geneveil.install").joinpath("manifests", name).read_text()


def open_cluster(kubeconfig: Path | None, context: str) -> "KubeCluster":
    """Whatever KUBECONFIG, ~/.kube/config or a Pod's service account leads to.

    Args:
        kubeconfig: a file to take instead.
        context: of the kubeconfig; empty: its current one.
    Raises:
        ConfigError: there is no such file or context, or it cannot be used.
    """
    try:
        config = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_env()
        chosen = config.get(context or None)
        if chosen is None:
            raise ConfigError("the kubeconfig names no cluster", remedy="give --context")
        _let_plugin_speak(chosen.user)
        return KubeCluster(Client(config=chosen, field_manager=FIELD_MANAGER, trust_env=False))
    except _BAD_KUBECONFIG as error:
        raise ConfigError(
            "the cluster cannot be reached",
            why=_what_is_wrong(error),
            remedy="set KUBECONFIG, or give --kubeconfig",
        ) from None


def _what_is_wrong(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, KubeConfigError):
        return text
    if isinstance(error, OSError):
        return f"{error.filename or 'a file that it names'}: {error.strerror or text}"
    if isinstance(error, yaml.YAMLError):
        return "the kubeconfig is not YAML"
    if isinstance(error, KeyError):
        return f"the kubeconfig lacks {text}"
    if isinstance(error, AttributeError | TypeError):
        return "the kubeconfig is not one"  # what Python says of it helps nobody
    return f"the kubeconfig: {text or type(error).__name__}"


def _let_plugin_speak(user: User | None) -> None:
    """Have a credential plugin of today's version run, which answers as those that lightkube knows
    do. It is told the version that the kubeconfig names, as kubectl tells it."""
    if user is None or user.exec is None:
        return
    info = {
        "apiVersion": user.exec.apiVersion,
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }
    told = NameValue("KUBERNETES_EXEC_INFO", json.dumps(info))
    user.exec.env = [*(user.exec.env or ()), told]
    if user.exec.apiVersion == _PLUGIN_API:
        user.exec.apiVersion = _PLUGIN_API_OF_LIGHTKUBE


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
    except (KubeConfigError, OSError, ValueError, KeyError) as error:
        # read or run only when it asks: a file with a token, a credential plugin
        is_told = isinstance(error, KubeConfigError | OSError)
        gave = _what_is_wrong(error) if is_told else "the credential plugin gave no token"
        raise ConfigError(
            f"cannot {what}",
            why=f"the kubeconfig's user has no credentials: {gave}",
            remedy="kubectl get --raw /version tries the same ones",
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
