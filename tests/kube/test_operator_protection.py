"""The operator says when the policies that protect an installation are gone or altered."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from geneveil.kube.io import KubeClient, open_client
from lab import manifests
from lab.kube.arguments import Programs
from lab.kube.cluster import make_namespace
from lab.kube.server import ApiServer
from tests.kube.operator_bench import condition, install, replica, switch_on, wait_for

POLICY, DEFINITION = "geneveil-keep-switch", "clusteripsecs.geneveil.io"


@pytest.fixture
def server(kube_programs: Programs, tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer.start(tmp_path / "kube", kube_programs) as started:
        make_namespace(started)
        install(started, kube_programs.helm)
        switch_on(open_client(started.kubeconfig()))
        yield started


def _degraded(admin: KubeClient, status: str, reason: str) -> str:
    said = condition(admin, "Degraded")
    return said[2] if said[:2] == (status, reason) else ""


def _look_anew(server: ApiServer, folder: Path, name: str, status: str, reason: str) -> str:
    """What a new leader says: one that leads already looks once a minute only."""
    admin = open_client(server.kubeconfig())
    with replica(server, folder, name) as operator:
        wait_for("it leads", lambda: operator.said('event="leads"'))
        told = wait_for(reason, lambda: _degraded(admin, status, reason))
        assert "Traceback" not in operator.text()
        assert operator.stop() == 0
    return told


def _kubectl(server: ApiServer, *words: str) -> None:
    done = server.kubectl(*words)
    assert done.returncode == 0, done.stderr


def test_policies_gone_altered_and_back(
    server: ApiServer, kube_programs: Programs, tmp_path: Path
) -> None:
    _look_anew(server, tmp_path, "whole", "False", "AsExpected")
    change = json.dumps({"spec": {"validationActions": ["Warn"]}})
    binding = "validatingadmissionpolicybinding"
    _kubectl(server, "patch", binding, POLICY, "--type=merge", f"-p={change}")
    told = _look_anew(server, tmp_path, "altered", "True", "PoliciesAltered")
    assert f"ValidatingAdmissionPolicyBinding {POLICY})" in told
    _kubectl(server, "delete", binding, POLICY)
    _kubectl(server, "delete", "validatingadmissionpolicy", "geneveil-keep-state")
    told = _look_anew(server, tmp_path, "gone", "True", "PoliciesMissing")
    assert "ValidatingAdmissionPolicy geneveil-keep-state" in told
    assert f"ValidatingAdmissionPolicyBinding {POLICY}" in told
    assert "geneveil install" in told  # the remedy
    install(server, kube_programs.helm)
    _look_anew(server, tmp_path, "healed", "False", "AsExpected")
    rules = "/spec/versions/0/schema/openAPIV3Schema/x-kubernetes-validations"
    change = json.dumps([{"op": "remove", "path": rules}])
    _kubectl(server, "patch", "crd", DEFINITION, "--type=json", f"-p={change}")
    told = _look_anew(server, tmp_path, "ruleless", "True", "DefinitionsAltered")
    assert DEFINITION in told


def test_the_namespace_and_signer_of_a_cluster_are_no_change(kube_programs: Programs) -> None:
    import yaml

    from geneveil.operator.kubernetes.protection import POLICY_DIGESTS, policy_digest

    values = ("mode=Full", "signerName=example.org/node")
    text = manifests.render(
        kube_programs.helm, values, only="templates/policies.yaml", namespace="elsewhere"
    )
    found = [one for one in yaml.safe_load_all(text) if one["kind"].endswith("Policy")]
    assert {
        one["metadata"]["name"]: policy_digest(one, "elsewhere", "example.org/node")
        for one in found
    } == dict(POLICY_DIGESTS)
