"""Are the policies and CRDs there that keep an encrypted cluster encrypted? Pure.

Kubernetes exempts policies and their bindings from policies: whoever may delete them can. Then
nothing but the operator's word is left: it goes on, and says Degraded.

What a policy decides by (rules, conditions, expressions) is compared by its SHA-256 with what this
version's manifests hold, the namespace and the signer's name aside. Words for people, labels, and
what the API server fills in by itself do not count.

Source: admissionregistration.k8s.io/v1.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from geneveil.kube.kinds import VERSION
from geneveil.kube.port import Document
from geneveil.operator.kubernetes.switch import Problem

POLICY_DIGESTS: Mapping[str, str] = {
    "geneveil-keep-crds": "6e55f516fc3e1e857e0b37f761366c6ce4ecc19b023f1f8ef859f621f1b060c3",
    "geneveil-keep-namespace": "c3cc31c60ade2f7ca9da40f35abbd1880e6c6909e1e9b7e33582a84d793e9edc",
    "geneveil-keep-state": "242be6393e28cffa193e3f0dbe09743dcff1fff70a71581598afb2acb10ffb6e",
    "geneveil-keep-switch": "9b242275c26f77d66a866c5c85fcf9db8e7fedcd4d592e51c034d20de79c26e1",
    "geneveil-node-status": "c6316fbb34a8eb45d19b9778eef6f4f5f81723510b7438342af5a16c11d55bba",
    "geneveil-operator-limits": "03899e57449edb615a4b1aa364b779c33ea20d74ba162461e329b383d6a4edfa",
}
"""Name of each policy, which is its binding's too, and the digest of what it decides by."""

DEFINITION_DIGESTS: Mapping[str, str] = {
    "clusteripsecs.geneveil.io": "3bd7be55e2e742aea16ac2bc73dc65ba32b1d7675b7edab1709f4d6ccb61e345",
    "nodeipsecs.geneveil.io": "6c9962410603638690d5640c31c8a234a8d193ba3e6408648f2736557099df92",
}
"""Of each CustomResourceDefinition's rules; see `definition_digest`."""

_RULE = ("apiGroups", "apiVersions", "operations", "resources", "resourceNames")
_REMEDY = "apply the manifests of this version again (geneveil install, or helm upgrade)"
_REMEDY_OF_DEFINITIONS = (
    "apply deploy/crds of this version again (kubectl apply --server-side, or geneveil install; "
    "helm upgrade leaves them as they are)"
)


@dataclass(frozen=True)
class Protection:
    """One policy and its binding as the API server has them.

    Attributes:
        policy, binding: None where the API server says that there is none.
    """

    name: str
    policy: Document | None
    binding: Document | None


def judge_protection(
    found: Iterable[Protection], namespace: str, signer_name: str
) -> Problem | None:
    """What is gone or altered, in one problem; None if everything is as it was installed."""
    gone, altered = [], []
    for one in found:
        if one.policy is None:
            gone.append(f"ValidatingAdmissionPolicy {one.name}")
        elif policy_digest(one.policy, namespace, signer_name) != POLICY_DIGESTS[one.name]:
            altered.append(f"ValidatingAdmissionPolicy {one.name}")
        if one.binding is None:
            gone.append(f"ValidatingAdmissionPolicyBinding {one.name}")
        elif not is_binding_whole(one.binding, one.name):
            altered.append(f"ValidatingAdmissionPolicyBinding {one.name}")
    if not gone and not altered:
        return None
    parts = [f"gone: {', '.join(gone)}"] if gone else []
    parts += [f"not as this version installs it: {', '.join(altered)}"] if altered else []
    return Problem(
        "PoliciesMissing" if gone else "PoliciesAltered",
        f"what protects the installation is not whole ({'; '.join(parts)}); the cluster goes on "
        f"as it was sealed; find out who did it, then {_REMEDY}",
    )


def judge_definitions(found: Mapping[str, Document | None]) -> Problem | None:
    """What is wrong with our CustomResourceDefinitions; None if all are there and whole.

    One that is gone, about to be, or no longer served leaves no object to tell people by: whoever
    asks this says it in the log, as an Event and in `geneveil status --cluster`. One whose rules
    were taken away keeps nobody from changing what was sealed.

    Args:
        found: each by its name; None where the API server says that there is none.
    """
    gone, unserved, altered = [], [], []
    for name, one in sorted(found.items()):
        version = _served_version(one or {})
        if one is None or _mapping(one.get("metadata")).get("deletionTimestamp"):
            gone.append(name)
        elif version is None:
            unserved.append(name)
        elif definition_digest(version) != DEFINITION_DIGESTS[name]:
            altered.append(name)
    parts = [f"gone: {', '.join(gone)}"] if gone else []
    parts += [f"{VERSION} not served: {', '.join(unserved)}"] if unserved else []
    parts += [f"not as this version installs it: {', '.join(altered)}"] if altered else []
    if not parts:
        return None
    what = f"CustomResourceDefinition {'; '.join(parts)}"
    if not gone and not unserved:
        return Problem(
            "DefinitionsAltered",
            f"{what}: what keeps the sealed settings, or what nodes report, may be lacking; the "
            f"cluster goes on as it was sealed; find out who did it, then {_REMEDY_OF_DEFINITIONS}",
        )
    return Problem(
        "DefinitionsMissing" if gone else "DefinitionsNotServed",
        f"{what}: nodes can't report, and wishes such as "
        "revoke and readmit are not heard; encryption goes on as it was sealed, certificates are "
        f"issued, and trust is published; find out who did it, then {_REMEDY_OF_DEFINITIONS}",
    )


def definition_digest(version: Document) -> str:
    """SHA-256 (hexadecimal) of the rules of a version of a definition, and of its subresources.

    Words for people, defaults and descriptions do not count.
    """
    schema = _mapping(version.get("schema")).get("openAPIV3Schema")
    decisive = [sorted(_mapping(version.get("subresources"))), list(_find_rules(schema, ""))]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def _served_version(definition: Document) -> Document | None:
    for one in _mapping(definition.get("spec")).get("versions") or ():
        if _mapping(one).get("name") == VERSION and _mapping(one).get("served"):
            return _mapping(one)
    return None


def _find_rules(schema: object, path: str) -> Iterator[list[str]]:
    """Path and expression of every rule (`x-kubernetes-validations`), in the order of paths."""
    for name, value in sorted(_mapping(schema).items()):
        if name == "x-kubernetes-validations":
            for rule in value or ():
                yield [path, str(_mapping(rule).get("rule", "")).strip()]
        elif isinstance(value, dict):
            yield from _find_rules(value, f"{path}/{name}")


def unreadable_protection(why: str) -> Problem:
    """The API server refuses to show the policies: nothing is known of them."""
    return Problem(
        "PoliciesUnreadable",
        f"whether the admission policies are in place can't be seen: {why}; {_REMEDY}",
    )


def policy_digest(policy: Document, namespace: str, signer_name: str) -> str:
    """SHA-256 (hexadecimal) of what a policy decides by."""
    spec = _mapping(policy.get("spec"))
    match = _mapping(spec.get("matchConstraints"))
    decisive = {
        "failurePolicy": spec.get("failurePolicy", "Fail"),
        "hasParameters": bool(spec.get("paramKind")),
        "rules": [_rule(one) for one in match.get("resourceRules") or ()],
        "excluded": [_rule(one) for one in match.get("excludeResourceRules") or ()],
        "namespaces": match.get("namespaceSelector") or {},
        "objects": match.get("objectSelector") or {},
        "conditions": _expressions(spec, "matchConditions"),
        "variables": _expressions(spec, "variables"),
        "validations": _expressions(spec, "validations"),
    }
    text = json.dumps(decisive, sort_keys=True)
    for own, general in (
        (f"system:serviceaccount:{namespace}:", "system:serviceaccount:NAMESPACE:"),
        (f'"{namespace}"', '"NAMESPACE"'),
        (f"'{signer_name}'", "'SIGNER'"),
    ):
        text = text.replace(own, general)
    return hashlib.sha256(text.encode()).hexdigest()


def is_binding_whole(binding: Document, policy: str) -> bool:
    """It makes the policy refuse, everywhere."""
    spec = _mapping(binding.get("spec"))
    match = {name: value for name, value in _mapping(spec.get("matchResources")).items() if value}
    match.pop("matchPolicy", None)  # the API server's own default
    return (
        spec.get("policyName") == policy
        and "Deny" in (spec.get("validationActions") or ())
        and not match
        and not spec.get("paramRef")
    )


def _rule(rule: object) -> dict[str, Any]:
    found = {name: _mapping(rule).get(name) or [] for name in _RULE}
    scope = _mapping(rule).get("scope") or "*"
    return found if scope == "*" else {**found, "scope": scope}


def _expressions(spec: Document, name: str) -> list[list[str]]:
    """Name and expression of each; a validation has no name."""
    return [
        [str(_mapping(one).get("name", "")), str(_mapping(one).get("expression", "")).strip()]
        for one in spec.get(name) or ()
    ]


def _mapping(value: object) -> Document:
    return value if isinstance(value, dict) else {}
