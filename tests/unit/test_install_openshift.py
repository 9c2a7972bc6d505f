"""What OpenShift's admission would say to our Pods: each may use constraints that let it in.

The rules are those of openshift/apiserver-library-go, securitycontextconstraints/sccmatching; only
the fields that our Pods use are looked at, and a Pod that uses another one fails.
"""

from typing import Any

import pytest

from geneveil.install.io import read_manifest
from geneveil.install.render import manifest_files, render_objects
from geneveil.install.wish import InstallWish
from geneveil.model.cluster import Mode

Json = dict[str, Any]


def _objects(mode: Mode, *, openshift: bool) -> list[Json]:
    wish = InstallWish(mode, openshift=openshift)
    return render_objects(wish, [read_manifest(name) for name in manifest_files(wish)])


def _templates(objects: list[Json]) -> list[Json]:
    return [one["spec"]["template"] for one in objects if one["kind"] in _WORKLOADS]


_WORKLOADS = ("Deployment", "DaemonSet")


def _usable(objects: list[Json], account: str) -> set[str]:
    """Names of the constraints that a service account may use."""
    roles = {
        binding["roleRef"]["name"]
        for binding in objects
        if binding["kind"] == "RoleBinding"
        and account in {subject["name"] for subject in binding["subjects"]}
    }
    return {
        name
        for role in objects
        if role["kind"] == "Role" and role["metadata"]["name"] in roles
        for rule in role["rules"]
        if rule["resources"] == ["securitycontextconstraints"] and rule["verbs"] == ["use"]
        for name in rule["resourceNames"]
    }


def _volume_kind(volume: Json) -> str:
    (kind,) = set(volume) - {"name"}
    return str(kind)


def _refusals(constraints: Json, pod: Json) -> list[str]:
    """Why a Pod is not let in; empty if it is."""
    context = pod["securityContext"]
    kinds = {_volume_kind(volume) for volume in pod["volumes"]}
    why = []
    if pod.get("hostNetwork") and not constraints["allowHostNetwork"]:
        why.append("hostNetwork")
    if context["runAsUser"] != constraints["runAsUser"].get("uid"):
        why.append("runAsUser")
    groups = constraints["fsGroup"].get("ranges", ())
    if not any(one["min"] <= context["fsGroup"] <= one["max"] for one in groups):
        why.append("fsGroup")
    if context["seccompProfile"]["type"] == "RuntimeDefault":
        why += [] if "runtime/default" in constraints["seccompProfiles"] else ["seccomp"]
    if not kinds <= set(constraints["volumes"]):
        why.append(f"volumes {kinds - set(constraints['volumes'])}")
    for container in pod["containers"]:
        inner = container["securityContext"]
        if not set(inner["capabilities"].get("add", ())) <= set(constraints["allowedCapabilities"]):
            why.append("capabilities")
        if constraints["readOnlyRootFilesystem"] and not inner["readOnlyRootFilesystem"]:
            why.append("readOnlyRootFilesystem")
        if any("hostPort" in port for port in container.get("ports", ())):
            why.append("hostPort")
    return why


@pytest.mark.parametrize("mode", list(Mode))
def test_every_pod_may_use_constraints_that_let_it_in(mode: Mode) -> None:
    objects = _objects(mode, openshift=True)
    made = {
        one["metadata"]["name"]: one
        for one in objects
        if one["kind"] == "SecurityContextConstraints"
    }
    templates = _templates(objects)
    assert len(templates) == (2 if mode is Mode.FULL else 1)
    for template in templates:
        pod = template["spec"]
        usable = _usable(objects, pod["serviceAccountName"])
        required = template["metadata"]["annotations"]["openshift.io/required-scc"]
        assert usable == {required}, pod["serviceAccountName"]
        if required != "privileged":  # which lets in everything
            assert _refusals(made[required], pod) == []


def test_constraints_that_are_too_tight_would_be_seen() -> None:
    objects = _objects(Mode.DISABLED, openshift=True)
    (constraints,) = (one for one in objects if one["kind"] == "SecurityContextConstraints")
    (template,) = _templates(objects)
    restricted = {
        **constraints,
        "allowHostNetwork": False,
        "runAsUser": {"type": "MustRunAsRange"},
        "fsGroup": {"type": "MustRunAs"},
        "volumes": [],
    }
    why = _refusals(restricted, template["spec"])
    assert why[:3] == ["hostNetwork", "runAsUser", "fsGroup"]
    assert len(why) == 4


def test_the_operator_gets_no_rights_that_it_has_no_use_for() -> None:
    objects = _objects(Mode.FULL, openshift=True)
    (constraints,) = (one for one in objects if one["kind"] == "SecurityContextConstraints")
    allowed = {name for name, value in constraints.items() if value is True}
    assert allowed == {"allowHostNetwork", "readOnlyRootFilesystem"}
    assert constraints["requiredDropCapabilities"] == ["ALL"]
    assert not constraints["allowedCapabilities"]


def test_elsewhere_nothing_of_openshift_is_asked_for() -> None:
    objects = _objects(Mode.FULL, openshift=False)
    assert "SecurityContextConstraints" not in {one["kind"] for one in objects}
    for template in _templates(objects):
        assert not [name for name in template["metadata"]["annotations"] if "scc" in name]
