"""What an installation that is there already says of itself, and what of a wish it settles. Pure.

Whoever brings a cluster up to date says what is to change. What he does not say stays as it is: an
upgrade that made namespace, signer, image or OpenShift's additions anew from defaults would be
another installation.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from geneveil.install.okd import OkdSwitch
from geneveil.install.wish import DEFAULT_NAMESPACE, DEFAULT_SIGNER, InstallWish
from geneveil.model.cluster import Mode
from geneveil.model.errors import RefusedError, TrustError

_RBAC = "rbac.authorization.k8s.io/v1"
_OPERATOR = "geneveil-operator"
BINDING = {"apiVersion": _RBAC, "kind": "ClusterRoleBinding", "metadata": {"name": _OPERATOR}}
ROLE = {"apiVersion": _RBAC, "kind": "ClusterRole", "metadata": {"name": _OPERATOR}}
NETWORK = {
    "apiVersion": "operator.openshift.io/v1",
    "kind": "Network",
    "metadata": {"name": "cluster"},
}


def deployment_in(namespace: str) -> dict[str, Any]:
    """By which the operator's Deployment is asked for."""
    metadata = {"name": _OPERATOR, "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}


def agents_in(namespace: str) -> dict[str, Any]:
    """By which the agents' DaemonSet is asked for."""
    metadata = {"name": "geneveil-agent", "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata}


def trust_in(namespace: str) -> dict[str, Any]:
    """By which is asked for what an operator tells the nodes, of mode Full alone."""
    metadata = {"name": "geneveil-trust", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def constraints_role_in(namespace: str) -> dict[str, Any]:
    """By which the Role is asked for that only installations on OpenShift have."""
    metadata = {"name": "geneveil-agent-scc", "namespace": namespace}
    return {"apiVersion": _RBAC, "kind": "Role", "metadata": metadata}


@dataclass(frozen=True)
class Standing:
    """An installation that is there, perhaps in part.

    Attributes:
        signer_name, image: empty if that part is not there yet.
    """

    namespace: str
    signer_name: str
    image: str
    openshift: bool


def namespace_of(binding: Mapping[str, Any]) -> str:
    """The namespace of the operator whose ClusterRoleBinding this is."""
    for subject in binding.get("subjects") or ():
        if subject.get("name") == _OPERATOR:
            return str(subject["namespace"])
    return DEFAULT_NAMESPACE


def judge_standing(
    binding: Mapping[str, Any],
    role: Mapping[str, Any] | None,
    deployment: Mapping[str, Any] | None,
    constraints_role: Mapping[str, Any] | None,
) -> Standing:
    """What these objects say; None for what is not there.

    The agents' Role is the sign of OpenShift that every installation of mode Full there has; the
    operator's annotation came later, and is there in either mode.
    """
    template = deployment["spec"]["template"] if deployment else {"metadata": {}, "spec": {}}
    images = [one["image"] for one in template["spec"].get("containers", ())]
    annotations = template["metadata"].get("annotations") or {}
    return Standing(
        namespace=namespace_of(binding),
        signer_name=_signer(role or {}),
        image=images[0] if images else "",
        openshift=constraints_role is not None or "openshift.io/required-scc" in annotations,
    )


def _signer(role: Mapping[str, Any]) -> str:
    for rule in role.get("rules") or ():
        if rule.get("resources") == ["signers"] and rule.get("resourceNames"):
            return str(rule["resourceNames"][0])
    return ""


def read_sealed(trust: Mapping[str, Any]) -> dict[str, Any]:
    """The ClusterIPsec of a cluster that lost it, as far as what nodes are told says it.

    Without it such a cluster would look like a new one, and be given another switch than the one
    that its operator sealed.

    Raises:
        TrustError: it can't be read; nothing is guessed.
    """
    try:
        settings = json.loads(trust["data"]["trust.json"])["settings"]
        names = ("mode", "encapsulation", "genevePorts")
        return {"spec": {name: settings[name] for name in names}}
    except (KeyError, TypeError, ValueError) as error:
        raise TrustError(
            "the ClusterIPsec is gone, and what was sealed can't be read",
            why=f"the ConfigMap geneveil-trust: {type(error).__name__}: {error}",
            remedy="nothing was changed; apply deploy/crds where they are gone too, and see that "
            "the operator runs: it makes the ClusterIPsec anew",
        ) from None


@dataclass(frozen=True)
class Asked:
    """What a person said; None or empty where nothing.

    Attributes:
        spec: fields of ClusterIPsec's spec besides mode.
    """

    mode: Mode | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    namespace: str | None = None
    signer_name: str | None = None
    image: str = ""
    openshift: bool | None = None


def settle_wish(asked: Asked, standing: Standing | None, *, is_openshift: bool) -> InstallWish:
    """What was asked, completed by what is there; the mode is not settled here.

    Args:
        is_openshift: the cluster is one.
    Raises:
        RefusedError: `installed-elsewhere`, a second installation in another namespace: both would
            have the same ClusterIPsec, and policies that shut each other's operator out.
    """
    if standing and asked.namespace not in (None, standing.namespace):
        raise RefusedError(
            "installed-elsewhere",
            f"geneveil is in namespace {standing.namespace} already, not in {asked.namespace}",
            why="a cluster has one, and its authority does not move",
            remedy="nothing was changed; leave --namespace out",
        )
    openshift = asked.openshift
    if openshift is None:
        openshift = is_openshift or (standing is not None and standing.openshift)
    there = standing or Standing("", "", "", False)
    return InstallWish(
        mode=asked.mode or Mode.DISABLED,
        spec=asked.spec,
        namespace=asked.namespace or there.namespace or DEFAULT_NAMESPACE,
        signer_name=asked.signer_name or there.signer_name or DEFAULT_SIGNER,
        image=asked.image or there.image,
        openshift=openshift,
    )


def follow_okd(asked: Asked, switch: OkdSwitch) -> Asked:
    """Let the cluster's own switch say what nobody else said, on a cluster without a ClusterIPsec.

    Raises:
        RefusedError: `okd-switch`, off was asked for where the cluster was installed with IPsec on.
    """
    if asked.mode is Mode.DISABLED and switch.mode is Mode.FULL:
        raise RefusedError(
            "okd-switch",
            "this cluster was installed with IPsec on, and --mode Disabled would leave it off",
            why="its Network.operator.openshift.io has ipsecConfig, which is the switch there",
            remedy="nothing was changed; leave --mode out, or give --mode Full",
        )
    return replace(asked, mode=asked.mode or switch.mode, spec=asked.spec or switch.spec)
