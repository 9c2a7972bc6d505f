"""The Pod that takes geneveil off a node has the rights of the guard's container, and no more."""

from typing import Any

import pytest

from geneveil.install.apply import read_decommission_pod
from geneveil.install.decommission_pod import LABEL, render_decommission_pod
from geneveil.install.io import read_manifest
from geneveil.install.render import manifest_files, render_objects
from geneveil.install.wish import InstallWish
from geneveil.model.cluster import Mode
from geneveil.model.errors import ConfigError

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def _agents(*, openshift: bool = False) -> dict[str, Any]:
    wish = InstallWish(Mode.FULL, image="example.test/g:7", openshift=openshift)
    objects = render_objects(wish, [read_manifest(name) for name in manifest_files(wish)])
    (found,) = (one for one in objects if one["kind"] == "DaemonSet")
    return found


def test_it_is_the_guards_container_with_another_command() -> None:
    agents = _agents()
    pod = render_decommission_pod(agents, "node3")
    template = agents["spec"]["template"]["spec"]
    (guard,) = (one for one in template["initContainers"] if one["name"] == "guard")
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "example.test/g:7"
    assert container["securityContext"] == guard["securityContext"]
    assert container["args"][:3] == ["node", "decommission", "--yes"]
    assert pod["spec"]["securityContext"] == template["securityContext"]
    assert "initContainers" not in pod["spec"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}
    assert mounted == {"config", "state", "run", "host-scripts", "host-units"}


def test_it_comes_to_its_node_when_the_agent_is_gone() -> None:
    agents = _agents()
    template = agents["spec"]["template"]
    affinity = render_decommission_pod(agents, "node3")["spec"]["affinity"]
    (term,) = affinity["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    (field,) = term["matchFields"]
    assert (field["key"], field["values"]) == ("metadata.name", ["node3"])
    (apart,) = affinity["podAntiAffinity"][REQUIRED]
    chosen = apart["labelSelector"]["matchLabels"]
    assert chosen.items() <= template["metadata"]["labels"].items()
    # it is not one of the agents itself, and the label keeps these off
    labels = render_decommission_pod(agents, "node3")["metadata"]["labels"]
    assert not chosen.items() <= labels.items()
    (own,) = template["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]
    assert own["matchExpressions"] == [{"key": LABEL, "operator": "DoesNotExist"}]


def test_the_files_for_the_boot_go_where_agents_do_not_write_them_either() -> None:
    agents = _agents()
    spec = agents["spec"]["template"]["spec"]
    gone = {"host-scripts", "host-units"}
    spec["volumes"] = [one for one in spec["volumes"] if one["name"] not in gone]
    for one in spec["initContainers"]:
        one["volumeMounts"] = [m for m in one["volumeMounts"] if m["name"] not in gone]
    pod = render_decommission_pod(agents, "node3")
    assert gone <= {volume["name"] for volume in pod["spec"]["volumes"]}


def test_on_openshift_it_asks_for_the_agents_constraints() -> None:
    annotations = render_decommission_pod(_agents(openshift=True), "n")["metadata"]["annotations"]
    assert annotations == {"openshift.io/required-scc": "privileged"}


class _Cluster:
    """Has what it is given; the real one is asked in tests/kube/test_docs.py."""

    def __init__(self, *kinds: str) -> None:
        self._kinds = kinds

    def read(self, document: Any) -> dict[str, Any] | None:
        return {"subjects": []} if document["kind"] in self._kinds else None

    def apply(self, document: Any, *, dry_run: bool, force: bool) -> dict[str, Any]:
        raise AssertionError("nothing is to be changed")

    def wait_for_definition(self, name: str) -> None:
        raise AssertionError("nothing is to be changed")


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ((), "there is no Node node3"),
        (("Node",), "no DaemonSet geneveil-agent"),
        (("Node", "ClusterRoleBinding"), "no DaemonSet geneveil-agent"),
    ],
)
def test_what_is_not_there_is_named(kinds: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_decommission_pod(_Cluster(*kinds), "node3")
