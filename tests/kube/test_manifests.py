"""What deploy/ holds is what the chart makes, and the API server takes it."""

import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from geneveil.install.io import read_manifest
from geneveil.install.render import manifest_files, render_objects
from geneveil.install.wish import InstallWish
from geneveil.kube.access import pod_access
from geneveil.model.cluster import Mode
from lab import manifests
from lab.kube.arguments import Programs
from lab.kube.cluster import await_established
from lab.kube.server import ApiServer
from tests.kube import openshift_api
from tests.kube.operator_bench import WAIT_SECONDS


@pytest.mark.parametrize("name", sorted(manifests.RENDERINGS))
def test_the_manifests_are_what_the_chart_makes(kube_programs: Programs, name: str) -> None:
    values, only = manifests.RENDERINGS[name]
    made = manifests.render(kube_programs.helm, values, only)
    assert (manifests.FOLDER / name).read_text() == made, "make manifests"


@pytest.mark.parametrize("openshift", [False, True])
def test_install_makes_what_helm_makes(kube_programs: Programs, openshift: bool) -> None:
    spec = {"genevePorts": [6081, 6082]}
    wish = InstallWish(Mode.FULL, spec, "elsewhere", "example.test/signer", "", openshift)
    ours = render_objects(wish, [read_manifest(name) for name in manifest_files(wish)])
    values = (
        "mode=Full",
        "createNamespace=true",
        "signerName=example.test/signer",
        "genevePorts={6081,6082}",
        f"openshift={str(openshift).lower()}",
    )
    text = manifests.render(kube_programs.helm, values, namespace="elsewhere")

    def keyed(objects: list[dict[str, object]]) -> dict[str, object]:
        own = ("CustomResourceDefinition", "ClusterIPsec")
        return {f"{o['kind']} {o['metadata']}": o for o in objects if o["kind"] not in own}

    assert keyed(ours) == keyed([one for one in yaml.safe_load_all(text) if one])


@pytest.mark.parametrize(
    "value",
    [
        "mode=On",
        "genevePorts={0}",
        "operator.replicas=0",
        "signerName=node",
        "typo=1",
        "operator.antiAffinity=Preferred",
    ],
)
def test_helm_refuses_values_that_make_no_sense(kube_programs: Programs, value: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        manifests.render(kube_programs.helm, (value,))
    assert value.split("=")[0].split(".")[-1] in refused.value.stderr


def _agents(programs: Programs, *values: str) -> dict[str, Any]:
    text = manifests.render(programs.helm, ("mode=Full", *values), "templates/agent.yaml")
    (found,) = (one for one in yaml.safe_load_all(text) if one["kind"] == "DaemonSet")
    pod: dict[str, Any] = found["spec"]["template"]["spec"]
    return pod


def test_a_host_that_cannot_be_written_is_left_alone(kube_programs: Programs) -> None:
    def lent(*values: str) -> set[str]:
        volumes = _agents(kube_programs, *values)["volumes"]
        return {one["hostPath"]["path"] for one in volumes if "hostPath" in one}

    assert lent() - lent("agent.bootGuard=false") == {"/etc/geneveil", "/etc/systemd/system"}
    (guard, _) = _agents(kube_programs, "agent.bootGuard=false")["initContainers"]
    assert guard["args"] == ["guard", "apply", "--config=/etc/geneveil/agent.yaml"]


def test_selinux_is_asked_for_where_it_is_said_to_be(kube_programs: Programs) -> None:
    def asked(*values: str) -> object:
        return _agents(kube_programs, *values)["securityContext"].get("seLinuxOptions")

    assert asked() is None
    assert asked("openshift=true") == {"type": "spc_t"}
    assert asked("agent.seLinuxType=container_engine_t") == {"type": "container_engine_t"}


def test_the_operator_can_be_told_where_the_api_server_is(kube_programs: Programs) -> None:
    def told(url: str) -> str:
        value = (f"operator.apiServer={url}",)
        text = manifests.render(kube_programs.helm, value, "templates/operator.yaml")
        by_kind = {one["kind"]: one for one in yaml.safe_load_all(text) if one}
        (container,) = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
        found = {one["name"]: one.get("value", "") for one in container["env"]}
        return pod_access(found, "x", "/x").server

    for url in ("https://192.0.2.1:6443", "https://[2001:db8::1]:6443"):
        assert told(url) == url
    assert told("https://api.example") == "https://api.example:443"
    ports = ("networkPolicy.apiServerPorts={8443}",)
    policy = manifests.render(kube_programs.helm, ports, "templates/networkpolicy.yaml")
    (rule,) = yaml.safe_load(policy)["spec"]["egress"]
    assert [one["port"] for one in rule["ports"]] == [8443]


@pytest.mark.parametrize("mode", ["full", "full-openshift", "disabled", "disabled-openshift"])
def test_plain_manifests_are_applied_and_applied_again(
    own_api_server: ApiServer, mode: str
) -> None:
    server = own_api_server
    switch, _, openshift = mode.partition("-")
    if openshift:
        openshift_api.serve(server, *openshift_api.CONSTRAINTS)
    for file in (
        manifests.TOP / "deploy/crds",
        manifests.FOLDER / f"{mode}.yaml",
        manifests.FOLDER / f"clusteripsec-{switch}.yaml",
    ):
        for _ in range(2):
            _applied(server, file)


def test_helm_template_is_applied_with_its_switch(own_api_server: ApiServer) -> None:
    server = own_api_server
    _applied(server, manifests.CHART / "crds/")
    values = (
        "mode=Full",
        "clusterIPsec.create=true",
        "operator.antiAffinity=Preferred",
        "operator.hostNetwork=false",
        "operator.apiServer=https://[2001:db8::1]:6443",
    )
    text = manifests.render(server.programs.helm, values)
    done = server.kubectl("apply", "--server-side", "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr
    found = server.kubectl_json("get", "clusteripsec", "cluster")
    assert found["spec"]["mode"] == "Full"


def _await_refusal(server: ApiServer, seconds: float = WAIT_SECONDS) -> None:
    """An API server follows a new policy some time after it was made."""
    end = time.monotonic() + seconds
    while not server.kubectl("delete", "clusteripsec", "cluster", "--dry-run=server").returncode:
        assert time.monotonic() < end, "the policy was not followed"
        time.sleep(0.2)


def test_helm_does_not_turn_a_cluster_over(own_api_server: ApiServer) -> None:
    server = own_api_server
    first = _helm(server, "install", "mode=Full")
    assert first.returncode == 0, first.stderr
    second = _helm(server, "upgrade", "mode=Disabled")
    assert second.returncode != 0
    assert "installed with mode: Full, and that never changes" in second.stderr
    gone = _helm(server, "uninstall")
    assert gone.returncode == 0, gone.stderr
    # what protects the installation stays, and so does the switch
    assert server.kubectl("get", "clusteripsec", "cluster").returncode == 0
    _await_refusal(server)
    refused = server.kubectl("delete", "clusteripsec", "cluster")
    assert "never off again" in refused.stderr


def test_helm_makes_no_agents_without_a_switch(own_api_server: ApiServer) -> None:
    server = own_api_server
    refused = _helm(server, "install", "mode=Full,clusterIPsec.create=false")
    assert "there is no ClusterIPsec" in refused.stderr
    assert server.kubectl("get", "daemonset", "-A", "-o", "name").stdout == ""
    # one that somebody made stays his, with his settings
    switch = {
        "apiVersion": "geneveil.io/v1alpha1",
        "kind": "ClusterIPsec",
        "metadata": {"name": "cluster"},
        "spec": {"mode": "Full", "encapsulation": "Always"},
    }
    server.kubectl_json("create", "-f", "-", stdin=switch)
    made = _helm(server, "install", "mode=Full")
    assert made.returncode == 0, made.stderr
    found = server.kubectl_json("get", "clusteripsec", "cluster")
    assert found["spec"]["encapsulation"] == "Always"


def test_helm_does_not_leave_okds_switch_unheard(own_api_server: ApiServer) -> None:
    server = own_api_server
    openshift_api.serve(server, *openshift_api.NETWORK)
    server.kubectl_json("create", "-f", "-", stdin=openshift_api.network(ipsecConfig={}))
    refused = _helm(server, "install", "mode=Disabled")
    assert "installed with IPsec on; give mode: Full" in refused.stderr
    made = _helm(server, "install", "mode=Full")
    assert made.returncode == 0, made.stderr


def test_helm_does_not_stand_beside_another_ipsec(own_api_server: ApiServer) -> None:
    server = own_api_server
    openshift_api.serve(server, *openshift_api.NETWORK)
    switch = openshift_api.network(ipsecConfig={"mode": "External"})
    server.kubectl_json("create", "-f", "-", stdin=switch)
    for mode in ("Full", "Disabled"):
        refused = _helm(server, "install", f"mode={mode}")
        assert "geneveil cannot stand beside it" in refused.stderr


def test_helm_makes_no_other_switch_than_what_was_sealed(own_api_server: ApiServer) -> None:
    """It is gone, and what nodes are told shows that IPsec is on."""
    server = own_api_server
    trust = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "geneveil-trust", "namespace": "geneveil-system"},
    }
    server.kubectl_json("create", "-f", "-", stdin=trust)
    refused = _helm(server, "install", "mode=Disabled")
    assert "installed with mode: Full, and that never changes" in refused.stderr
    made = _helm(server, "install", "mode=Full")
    assert made.returncode == 0, made.stderr
    assert server.kubectl_json("get", "clusteripsec")["items"] == []
    assert server.kubectl("get", "daemonset", "-A", "-o", "name").stdout != ""


def test_the_api_server_serves_the_operator_before_ordinary_pods(own_api_server: ApiServer) -> None:
    server = own_api_server
    text = manifests.render(server.programs.helm, (), "templates/flowcontrol.yaml")
    done = server.kubectl("apply", "--server-side", "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr
    rbac = manifests.render(server.programs.helm, (), "templates/rbac-operator.yaml")
    assert server.kubectl("apply", "--server-side", "-f", "-", stdin=rbac).returncode == 0
    token = server.kubectl("create", "token", "geneveil-operator", "-n", manifests.NAMESPACE)
    config = server.token_kubeconfig("operator", token.stdout.strip())
    lease = (
        f"/apis/coordination.k8s.io/v1/namespaces/{manifests.NAMESPACE}/leases/geneveil-operator"
    )
    for name, path in (("geneveil-operator", "/api/v1/nodes"), ("geneveil-operator-lead", lease)):
        schema = server.kubectl_json("get", "flowschema", name)
        end = time.monotonic() + 60
        while f"X-Kubernetes-Pf-Flowschema-Uid: {schema['metadata']['uid']}" not in _headers(
            server, config, path
        ):
            assert time.monotonic() < end, f"{path} is not served by {name}"
            time.sleep(0.2)


def _headers(server: ApiServer, config: Path, path: str) -> str:
    """What kubectl tells of an answer."""
    return server.kubectl("get", f"--raw={path}", "-v=8", config=config).stderr


def _applied(server: ApiServer, file: Path) -> None:
    done = server.kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        "-f",
        f"{file}/" if file.is_dir() else f"{file}",
    )
    assert done.returncode == 0, done.stderr
    if file.name == "crds":
        await_established(server)


def _helm(server: ApiServer, verb: str, values: str = "") -> "subprocess.CompletedProcess[str]":
    command = [str(server.programs.helm), verb, "geneveil"]
    if verb != "uninstall":
        # the service accounts are there already, and belong to nobody
        command += [str(manifests.CHART), "--take-ownership", "--set", values]
    command += ["--namespace", manifests.NAMESPACE, f"--kubeconfig={server.kubeconfig()}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
