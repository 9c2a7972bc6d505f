"""Which admission policies count as gone or altered."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from geneveil.kube.kinds import OWN_DEFINITIONS
from geneveil.operator.kubernetes.protection import (
    DEFINITION_DIGESTS,
    POLICY_DIGESTS,
    Protection,
    judge_definitions,
    judge_protection,
    policy_digest,
)

MANIFEST = Path(__file__).parents[2] / "deploy/manifests/full.yaml"
CRDS = Path(__file__).parents[2] / "deploy/crds"
NAMESPACE, SIGNER = "geneveil-system", "geneveil.io/node"
Pair = tuple[dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def installed() -> dict[str, Pair]:
    """Name -> policy and binding, as the manifests have them."""
    documents = [one for one in yaml.safe_load_all(MANIFEST.read_text()) if one]
    by_kind = {
        kind: {one["metadata"]["name"]: one for one in documents if one["kind"] == kind}
        for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    }
    policies, bindings = by_kind.values()
    assert policies.keys() == bindings.keys()
    return {name: (policies[name], bindings[name]) for name in policies}


def _judge(installed: dict[str, Pair]) -> tuple[str, str]:
    found = [Protection(name, *pair) for name, pair in installed.items()]
    problem = judge_protection(found, NAMESPACE, SIGNER)
    return (problem.reason, problem.message) if problem else ("", "")


def test_every_policy_of_the_manifests_is_known(installed: dict[str, Pair]) -> None:
    digests = {name: policy_digest(pair[0], NAMESPACE, SIGNER) for name, pair in installed.items()}
    assert digests == dict(POLICY_DIGESTS)
    assert _judge(installed) == ("", "")


@pytest.fixture(scope="module")
def definitions() -> dict[str, Any]:
    """Name -> CRD, as the manifests have them."""
    found = [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]
    return {one["metadata"]["name"]: one for one in found}


def test_every_crd_of_the_manifests_is_known(definitions: dict[str, Any]) -> None:
    assert definitions.keys() == DEFINITION_DIGESTS.keys() == set(OWN_DEFINITIONS)
    assert judge_definitions(definitions) is None


def _version(definition: dict[str, Any]) -> dict[str, Any]:
    version: dict[str, Any] = definition["spec"]["versions"][0]
    return version


def _no_mode_rule(definition: dict[str, Any]) -> None:
    spec = _version(definition)["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["x-kubernetes-validations"][0]["rule"] = "true"


def _no_seal_rules(definition: dict[str, Any]) -> None:
    del _version(definition)["schema"]["openAPIV3Schema"]["x-kubernetes-validations"]


def _going(definition: dict[str, Any]) -> None:
    definition["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"


def _not_served(definition: dict[str, Any]) -> None:
    _version(definition)["served"] = False


def _another_version(definition: dict[str, Any]) -> None:
    _version(definition)["name"] = "v2"


def _no_status(definition: dict[str, Any]) -> None:
    del _version(definition)["subresources"]


def _other_words(definition: dict[str, Any]) -> None:
    schema = _version(definition)["schema"]["openAPIV3Schema"]
    schema["description"] = "in other words"
    schema["x-kubernetes-validations"][0]["message"] = "no"
    definition["status"] = {"acceptedNames": {}}


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (_going, "DefinitionsMissing"),
        (_not_served, "DefinitionsNotServed"),
        (_another_version, "DefinitionsNotServed"),
        (_no_mode_rule, "DefinitionsAltered"),
        (_no_seal_rules, "DefinitionsAltered"),
        (_no_status, "DefinitionsAltered"),
        (_other_words, ""),
    ],
)
def test_crds_that_are_not_whole(
    definitions: dict[str, Any], alter: Callable[[dict[str, Any]], None], reason: str
) -> None:
    changed = copy.deepcopy(definitions)
    alter(changed["clusteripsecs.geneveil.io"])
    problem = judge_definitions(changed)
    assert (problem.reason if problem else "") == reason
    if problem is not None:
        assert "clusteripsecs.geneveil.io" in problem.message
        assert "geneveil install" in problem.message
        assert "goes on" in problem.message


def test_crds_that_are_gone(definitions: dict[str, Any]) -> None:
    for gone in definitions:
        problem = judge_definitions({**definitions, gone: None})
        assert problem is not None
        assert problem.reason == "DefinitionsMissing"
        assert problem.message.startswith(f"CustomResourceDefinition gone: {gone}: nodes can't")


def test_namespace_and_signer_are_a_clusters_own(installed: dict[str, Pair]) -> None:
    text = MANIFEST.read_text().replace(NAMESPACE, "elsewhere").replace(SIGNER, "example.org/n")
    found = [one for one in yaml.safe_load_all(text) if one]
    policies = [one for one in found if one["kind"] == "ValidatingAdmissionPolicy"]
    for policy in policies:
        name = policy["metadata"]["name"]
        assert policy_digest(policy, "elsewhere", "example.org/n") == POLICY_DIGESTS[name]
        if name == "geneveil-keep-state":
            assert policy_digest(policy, NAMESPACE, SIGNER) != POLICY_DIGESTS[name]


def _refuses_nothing(policy: dict[str, Any]) -> None:
    policy["spec"]["validations"][0]["expression"] = "true"


def _matches_nothing(policy: dict[str, Any]) -> None:
    policy["spec"]["matchConstraints"]["resourceRules"][0]["resources"] = ["widgets"]


def _gives_way(policy: dict[str, Any]) -> None:
    policy["spec"]["failurePolicy"] = "Ignore"


def _excepts(policy: dict[str, Any]) -> None:
    conditions = policy["spec"].setdefault("matchConditions", [])
    conditions.append({"name": "x", "expression": "request.userInfo.username != 'me'"})


def _leaves_out(policy: dict[str, Any]) -> None:
    rules = policy["spec"]["matchConstraints"]["resourceRules"]
    policy["spec"]["matchConstraints"]["excludeResourceRules"] = copy.deepcopy(rules)


def _elsewhere(policy: dict[str, Any]) -> None:
    policy["spec"]["matchConstraints"]["namespaceSelector"] = {"matchLabels": {"no": "such"}}


def _of_no_such_scope(policy: dict[str, Any]) -> None:
    # secrets are in namespaces, ClusterIPsecs are not: what is asked for is never of both
    for rule in policy["spec"]["matchConstraints"]["resourceRules"]:
        rule["scope"] = "Cluster"


ALTERED = (
    _refuses_nothing,
    _matches_nothing,
    _gives_way,
    _excepts,
    _leaves_out,
    _elsewhere,
    _of_no_such_scope,
)


@pytest.mark.parametrize("alter", ALTERED)
@pytest.mark.parametrize("name", POLICY_DIGESTS)
def test_an_altered_policy(
    installed: dict[str, Pair], name: str, alter: Callable[[dict[str, Any]], None]
) -> None:
    changed = copy.deepcopy(installed)
    alter(changed[name][0])
    reason, message = _judge(changed)
    assert reason == "PoliciesAltered"
    assert f"ValidatingAdmissionPolicy {name})" in message
    assert "geneveil install" in message


def _only_warns(binding: dict[str, Any]) -> None:
    binding["spec"]["validationActions"] = ["Warn", "Audit"]


def _of_another(binding: dict[str, Any]) -> None:
    binding["spec"]["policyName"] = "another"


def _in_one_namespace(binding: dict[str, Any]) -> None:
    binding["spec"]["matchResources"] = {"namespaceSelector": {"matchLabels": {"no": "such"}}}


@pytest.mark.parametrize("alter", [_only_warns, _of_another, _in_one_namespace])
def test_an_altered_binding(
    installed: dict[str, Pair], alter: Callable[[dict[str, Any]], None]
) -> None:
    changed = copy.deepcopy(installed)
    alter(changed["geneveil-keep-state"][1])
    reason, message = _judge(changed)
    assert reason == "PoliciesAltered"
    assert "ValidatingAdmissionPolicyBinding geneveil-keep-state)" in message


def test_what_the_api_server_fills_in_is_no_change(installed: dict[str, Pair]) -> None:
    filled = copy.deepcopy(installed)
    for policy, binding in filled.values():
        match = policy["spec"]["matchConstraints"]
        match.setdefault("namespaceSelector", {})
        match["objectSelector"], match["matchPolicy"] = {}, "Equivalent"
        for rule in match["resourceRules"]:
            rule["scope"] = "*"
        binding["spec"]["matchResources"] = {"objectSelector": {}, "matchPolicy": "Equivalent"}
    assert _judge(filled) == ("", "")


@pytest.mark.parametrize("which", [0, 1])
def test_what_is_gone(installed: dict[str, Pair], which: int) -> None:
    kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    for name, pair in installed.items():
        left = (None, pair[1]) if which == 0 else (pair[0], None)
        found = [Protection(other, *both) for other, both in installed.items() if other != name]
        problem = judge_protection([*found, Protection(name, *left)], NAMESPACE, SIGNER)
        assert problem is not None
        assert problem.reason == "PoliciesMissing"
        assert f"gone: {kinds[which]} {name})" in problem.message
