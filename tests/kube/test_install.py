"""`geneveil install` on a real API server."""

import json
import subprocess
import sys
from pathlib import Path

from lab.kube.server import ApiServer
from tests.kube import openshift_api

OKD = """\
apiVersion: operator.openshift.io/v1
kind: Network
metadata:
  name: cluster
spec:
  defaultNetwork:
    type: OVNKubernetes
    ovnKubernetesConfig:
      genevePort: 6082
      ipsecConfig: {mode: Full, full: {encapsulation: Always}}
"""


def _install(server: ApiServer, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "geneveil", "install", f"--kubeconfig={server.kubeconfig()}"]
    return subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def _actions(done: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    objects = json.loads(done.stdout)["objects"]
    return {f"{one['kind']}/{one['name']}": one["action"] for one in objects}


def test_an_installation_from_its_first_try_to_its_upgrade(own_api_server: ApiServer) -> None:
    server = own_api_server
    dry = _actions(_install(server, "--mode", "Full", "--dry-run", "-o", "json"))
    assert dry["ClusterIPsec/cluster"] == "create"
    assert server.kubectl("get", "crd", "-o", "name").stdout == ""

    unasked = _install(server, "--mode", "Full")
    assert unasked.returncode == 2
    assert "nobody can be asked" in unasked.stderr
    assert server.kubectl("get", "crd", "-o", "name").stdout == ""

    assert "applied" in _install(server, "--mode", "Full", "--yes").stdout
    found = server.kubectl_json("get", "clusteripsec", "cluster")
    assert found["spec"]["mode"] == "Full"

    again = _actions(_install(server, "-o", "json", "--yes"))
    assert set(again.values()) == {"unchanged"}

    for asked in (("--mode", "Disabled"), ("--mode", "Disabled", "--dry-run")):
        refused = _install(server, *asked)
        assert refused.returncode == 1
        assert "installed with mode: Full, and that never changes" in refused.stderr

    upgrade = _actions(_install(server, "--image", "example.test/g:2", "-o", "json", "--yes"))
    assert {name for name, action in upgrade.items() if action == "change"} == {
        "Deployment/geneveil-operator",
        "DaemonSet/geneveil-agent",
    }
    pods = server.kubectl_json("get", "daemonset", "geneveil-agent", "-n", "geneveil-system")
    images = {one["image"] for one in pods["spec"]["template"]["spec"]["containers"]}
    assert images == {"example.test/g:2"}


def test_okds_manifest_becomes_ours(own_api_server: ApiServer, tmp_path: Path) -> None:
    manifest = tmp_path / "cluster-network-03-config.yml"
    manifest.write_text(OKD)
    openshift_api.serve(own_api_server, *openshift_api.CONSTRAINTS)
    done = _install(own_api_server, "--from", str(manifest), "--yes")
    assert done.returncode == 0, done.stderr
    found = own_api_server.kubectl_json("get", "clusteripsec", "cluster")
    assert found["spec"]["mode"] == "Full"
    assert found["spec"]["encapsulation"] == "Always"
    assert found["spec"]["genevePorts"] == [6082]


def test_an_upgrade_keeps_what_it_is_not_asked_to_change(
    own_api_server: ApiServer, tmp_path: Path
) -> None:
    server = own_api_server
    manifest = tmp_path / "cluster-network-03-config.yml"
    manifest.write_text(OKD)
    openshift_api.serve(server, *openshift_api.CONSTRAINTS)
    first = ("--signer-name", "example.test/signer", "--namespace", "elsewhere")
    image = ("--image", "example.test/g:1")
    done = _install(server, "--from", str(manifest), *first, *image, "--yes")
    assert done.returncode == 0, done.stderr

    assert set(_actions(_install(server, "-o", "json", "--yes")).values()) == {"unchanged"}
    upgrade = _actions(_install(server, "--image", "example.test/g:2", "-o", "json", "--yes"))
    assert {name for name, action in upgrade.items() if action != "unchanged"} == {
        "Deployment/geneveil-operator",
        "DaemonSet/geneveil-agent",
    }
    pods = server.kubectl_json("get", "daemonset", "geneveil-agent", "-n", "elsewhere")
    spec = pods["spec"]["template"]["spec"]
    assert spec["securityContext"]["seLinuxOptions"] == {"type": "spc_t"}
    assert {one["image"] for one in spec["containers"]} == {"example.test/g:2"}

    refused = _install(server, "--namespace", "geneveil-system", "--yes")
    assert "geneveil is in namespace elsewhere already" in refused.stderr


def test_okds_own_switch_is_followed(own_api_server: ApiServer) -> None:
    server = own_api_server
    for kind in (openshift_api.NETWORK, openshift_api.CONSTRAINTS):
        openshift_api.serve(server, *kind)
    switch = openshift_api.network(genevePort=6082, ipsecConfig={"mode": "Full"})
    server.kubectl_json("create", "-f", "-", stdin=switch)

    refused = _install(server, "--mode", "Disabled", "--yes")
    assert refused.returncode == 1
    assert "this cluster was installed with IPsec on" in refused.stderr
    assert server.kubectl("get", "crd", "clusteripsecs.geneveil.io").returncode != 0

    done = _install(server, "--yes")
    assert done.returncode == 0, done.stderr
    found = server.kubectl_json("get", "clusteripsec", "cluster")
    assert (found["spec"]["mode"], found["spec"]["genevePorts"]) == ("Full", [6082])
    role = ("role", "geneveil-operator-scc", "-n", "geneveil-system")
    assert server.kubectl("get", *role).returncode == 0


def test_ipsec_that_okd_leaves_to_somebody_else_is_refused(own_api_server: ApiServer) -> None:
    server = own_api_server
    openshift_api.serve(server, *openshift_api.NETWORK)
    switch = openshift_api.network(ipsecConfig={"mode": "External"})
    server.kubectl_json("create", "-f", "-", stdin=switch)
    refused = _install(server, "--mode", "Full", "--yes")
    assert refused.returncode == 2
    assert "Network.operator.openshift.io cluster" in refused.stderr
    assert "geneveil cannot stand beside it" in refused.stderr


def test_a_cluster_that_lost_its_switch_is_no_new_one(own_api_server: ApiServer) -> None:
    server = own_api_server
    settings = {"mode": "Full", "encapsulation": "Auto", "genevePorts": [6082]}
    trust = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "geneveil-trust", "namespace": "geneveil-system"},
        "data": {"trust.json": json.dumps({"generation": 7, "settings": settings})},
    }
    server.kubectl_json("create", "-f", "-", stdin=trust)
    refused = _install(server, "--mode", "Disabled", "--yes")
    assert refused.returncode == 1
    assert "never off again" in refused.stderr
    done = _install(server, "--yes")
    assert done.returncode == 0, done.stderr
    assert "the operator makes it anew" in done.stdout
    # the CRDs are there again, for the operator to make it; the agents stay what they are
    assert server.kubectl_json("get", "clusteripsec")["items"] == []
    config = ("get", "configmap", "geneveil-agent", "-n", "geneveil-system")
    assert "genevePorts: [6082]" in server.kubectl_json(*config)["data"]["agent.yaml"]


def test_machine_configs_are_objects(own_api_server: ApiServer) -> None:
    server = own_api_server
    openshift_api.serve(server, *openshift_api.MACHINE_CONFIG)
    made = _install(server, "--mode", "Full", "--render-machine-config")
    assert made.returncode == 0, made.stderr
    done = server.kubectl("apply", "--server-side", "-f", "-", stdin=made.stdout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("serverside-applied") == 2


def test_off_by_default(own_api_server: ApiServer) -> None:
    done = _install(own_api_server, "--yes")
    assert "IPsec is off (mode: Disabled), and cannot be switched on later" in done.stdout
    refused = _install(own_api_server, "--mode", "Full", "--yes")
    assert "IPsec can be switched on only while the cluster is installed" in refused.stderr
    daemon_sets = own_api_server.kubectl("get", "daemonsets", "-A", "-o", "name")
    assert daemon_sets.stdout == ""


def test_an_api_server_that_is_away_is_named(own_api_server: ApiServer) -> None:
    own_api_server.stop()
    done = _install(own_api_server, "--mode", "Full", "--yes")
    assert done.returncode == 1
    assert "the API server does not answer" in done.stderr
    assert "Traceback" not in done.stderr
