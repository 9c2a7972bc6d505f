"""Every command of docs/kubernetes.md, in its order, against a real API server."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lab.kube.arguments import Programs
from lab.kube.server import ApiServer
from tests.kube.operator_bench import FakeAgent, replica, wait_for

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
OKD = """\
apiVersion: operator.openshift.io/v1
kind: Network
metadata: {name: cluster}
spec:
  defaultNetwork:
    type: OVNKubernetes
    ovnKubernetesConfig: {ipsecConfig: {}}
"""
MOST_SECONDS = 400


WAYS = ("With geneveil itself", "As plain manifests", "With Helm")
HELMS_UPGRADE = "What Helm installed"
REMOVAL = "Where IPsec is off"


def commands(section: str = "") -> list[str]:
    """Of a section of the page, or of all of it."""
    text = PAGE
    if section:
        (text,) = re.findall(rf"^### {section}\n(.*?)(?=^##)", PAGE, re.DOTALL | re.MULTILINE)
    found = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [line for block in found for line in block.splitlines() if line.strip()]


class Shell:
    """Runs what the page says, with its own programs and an administrator's access."""

    def __init__(self, server: ApiServer, programs: Programs, folder: Path) -> None:
        self._places = {"kubectl": str(programs.kubectl), "helm": str(programs.helm)}
        self._folder = folder
        self._environment = {
            **os.environ,
            "KUBECONFIG": str(server.kubeconfig()),
            "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))),
        }

    def is_done(self, line: str) -> bool:
        """Whether it is not refused, as it may be until the API server follows."""
        try:
            self.run(line)
        except AssertionError:
            return False
        return True

    def run(self, line: str) -> str:
        words, _, target = line.partition(" > ")
        program, *arguments = shlex.split(words)
        arguments = [one.replace("deploy/", f"{ROOT}/deploy/", 1) for one in arguments]
        geneveil = [sys.executable, "-m", "geneveil"]
        start = geneveil if program == "geneveil" else [self._places[program]]
        done = subprocess.run(
            [*start, *arguments],
            capture_output=True,
            text=True,
            timeout=MOST_SECONDS,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        # That nodes without an agent are not well is what the status says, by its exit status.
        allowed = {0, 1} if arguments[:2] == ["status", "--cluster"] else {0}
        assert done.returncode in allowed, f"{line}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr, line
        if target:
            (self._folder / target).write_text(done.stdout)
        return done.stdout


@pytest.fixture
def shell(own_api_server: ApiServer, kube_programs: Programs, tmp_path: Path) -> Iterator[Shell]:
    (tmp_path / "cluster-network-03-config.yml").write_text(OKD)
    yield Shell(own_api_server, kube_programs, tmp_path)


@pytest.fixture
def fresh(kube_programs: Programs, tmp_path: Path) -> Iterator[Shell]:
    """A cluster where nothing of ours is: no namespace, no kind, no service account."""
    with ApiServer.start(tmp_path / "fresh", kube_programs) as server:
        yield Shell(server, kube_programs, tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_by_itself_installs_all_of_it(fresh: Shell, way: str) -> None:
    for line in commands(way):
        fresh.run(line)
    switch = "{.spec.mode} {.spec.encapsulation} {.spec.genevePorts[*]}"
    assert fresh.run(f"kubectl get clusteripsec cluster -o 'jsonpath={switch}'") == "Full Auto 6081"
    there = ("daemonset/geneveil-agent", "deployment/geneveil-operator", "configmap/geneveil-agent")
    for one in there:
        fresh.run(f"kubectl get {one} -n geneveil-system")
    fresh.run("kubectl get validatingadmissionpolicybinding geneveil-keep-switch")
    label = "pod-security.kubernetes.io/enforce"
    assert "geneveil-system" in fresh.run(f"kubectl get namespace -l {label}=privileged")


def test_what_helm_installed_is_upgraded(fresh: Shell) -> None:
    for line in (*commands("With Helm"), *commands(HELMS_UPGRADE)):
        fresh.run(line)
    images = "{.spec.template.spec.containers[*].image}"
    pods = f"kubectl get daemonset geneveil-agent -n geneveil-system -o 'jsonpath={images}'"
    image = "registry.example/geneveil:0.2.0"  # and the registry is as it was
    assert fresh.run(pods) == f"{image} {image}"
    assert fresh.run("kubectl get clusteripsec cluster -o 'jsonpath={.spec.mode}'") == "Full"


def test_where_ipsec_is_off_all_of_it_is_taken_away(fresh: Shell) -> None:
    fresh.run("geneveil install --yes")
    bindings, *rest = commands(REMOVAL)
    fresh.run(bindings)
    for line in rest:
        wait_for(line, partial(fresh.is_done, line))
    assert fresh.run("kubectl get crd -o name") == ""
    kinds = "validatingadmissionpolicies,clusterroles,clusterrolebindings,flowschemas"
    ours = "-l app.kubernetes.io/part-of=geneveil"
    assert fresh.run(f"kubectl get {kinds} {ours} -o name") == ""
    assert fresh.run(f"kubectl get roles,rolebindings -n default {ours} -o name") == ""


def test_every_command_of_the_page_works(
    shell: Shell, own_api_server: ApiServer, tmp_path: Path
) -> None:
    others = {line for way in (*WAYS[1:], HELMS_UPGRADE, REMOVAL) for line in commands(way)}
    lines = [line for line in commands() if line not in others]
    assert len(lines) >= 20
    at = next(i for i, line in enumerate(lines) if line.startswith("kubectl wait clusteripsec"))
    said = {line: shell.run(line) for line in lines[:at]}
    with replica(own_api_server, tmp_path, "one"):
        for node in ("node1", "node2", "node3"):
            FakeAgent(own_api_server, node, node).enrol()
        said |= {line: shell.run(line) for line in lines[at:]}
    assert "ClusterIPsec" in said["geneveil install --from cluster-network-03-config.yml --dry-run"]
    assert "Full" in said["kubectl get clusteripsec"]
    assert "node3" in said["kubectl get nodeipsecs"]
    assert "node2" in said["geneveil operator list --kubernetes"]


def test_every_link_of_the_page_leads_somewhere() -> None:
    links = [one for one in re.findall(r"\]\(([^)#:]+)\)", PAGE) if one]
    assert len(links) >= 2
    for link in links:
        assert (ROOT / "docs" / link).exists(), link
