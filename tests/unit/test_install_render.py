"""The shipped manifests, and what becomes of them."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from geneveil.install.io import read_manifest
from geneveil.install.render import manifest_files, render_objects, render_yaml
from geneveil.install.wish import InstallWish
from geneveil.model.cluster import Mode
from geneveil.operator.config import json_schema

TOP = Path(__file__).parents[2]


def _objects(wish: InstallWish) -> list[dict[str, Any]]:
    return render_objects(wish, [read_manifest(name) for name in manifest_files(wish)])


def _schema(crd: str) -> dict[str, Any]:
    document = yaml.safe_load((TOP / "deploy/crds" / crd).read_text())
    (version,) = document["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def test_the_switch_follows_its_protection_and_precedes_the_agents() -> None:
    kinds = [one["kind"] for one in _objects(InstallWish(Mode.FULL))]
    assert kinds[0] == "CustomResourceDefinition"
    assert kinds[-3:] == ["ClusterIPsec", "Deployment", "DaemonSet"]
    assert kinds.index("ValidatingAdmissionPolicyBinding") < kinds.index("ClusterIPsec")


def test_off_means_that_nothing_runs_on_nodes() -> None:
    assert "DaemonSet" not in {one["kind"] for one in _objects(InstallWish(Mode.DISABLED))}


def test_every_wish_shows_in_the_objects() -> None:
    wish = InstallWish(
        Mode.FULL,
        {"genevePorts": [6082, 6083]},
        namespace="elsewhere",
        signer_name="network.openshift.io/signer",
        image="example.test/geneveil:9",
        openshift=True,
    )
    text = render_yaml(_objects(wish))
    assert "geneveil-system" not in text
    assert "geneveil.io/node" not in text
    assert "genevePorts: [6082,6083]" in text
    assert text.count("image: example.test/geneveil:9") == 5
    assert "spc_t" in text


def test_what_is_rendered_reads_back_the_same() -> None:
    objects = _objects(InstallWish(Mode.FULL))
    assert list(yaml.safe_load_all(render_yaml(objects))) == objects


@pytest.mark.parametrize("crd", ["geneveil.io_clusteripsecs.yaml", "geneveil.io_nodeipsecs.yaml"])
def test_every_field_of_a_crd_says_what_it_is(crd: str) -> None:
    def silent(schema: dict[str, Any], path: str) -> list[str]:
        found = []
        for name, field in schema.get("properties", {}).items():
            # the API server lets nobody describe metadata
            if "description" not in field and name != "metadata":
                found.append(f"{path}.{name}")
            found += silent(field, f"{path}.{name}")
            found += silent(field.get("items", {}), f"{path}.{name}[]")
        return found

    assert silent(_schema(crd), "") == []


def test_the_crd_has_the_settings_and_defaults_of_the_configuration_file() -> None:
    published = json_schema()["$defs"]
    spec = _schema("geneveil.io_clusteripsecs.yaml")["properties"]["spec"]["properties"]
    # where the operator listens has no meaning in Kubernetes
    assert set(spec) == set(published["Spec"]["properties"]) - {"operator"}
    ours = spec["certificates"]["properties"]
    theirs = published["Certificates"]["properties"]
    assert set(ours) == set(theirs)
    defaults = {name: field.get("default") for name, field in ours.items()}
    assert defaults == {name: field.get("default") for name, field in theirs.items()}
    for name in ("mode", "encapsulation"):
        assert spec[name]["default"] == published["Spec"]["properties"][name]["default"]
        assert sorted(spec[name]["enum"]) == sorted(published["Spec"]["properties"][name]["enum"])


def test_the_charts_values_are_all_in_its_schema_and_fit_it() -> None:
    chart = TOP / "deploy/chart/geneveil"
    values = yaml.safe_load((chart / "values.yaml").read_text())
    schema = json.loads((chart / "values.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(values, schema)
    assert set(values) == set(schema["properties"]) - {"global"}


@pytest.mark.parametrize("name", ["full.yaml", "full-openshift.yaml", "disabled.yaml"])
def test_what_is_shipped_is_what_deploy_has(name: str) -> None:
    assert read_manifest(name) == (TOP / "deploy/manifests" / name).read_text()


def _pods() -> dict[str, Any]:
    return {
        one["kind"]: one["spec"]["template"]["spec"]
        for one in _objects(InstallWish(Mode.FULL))
        if one["kind"] in ("Deployment", "DaemonSet")
    }


def test_containers_have_only_what_they_need() -> None:
    for pod in _pods().values():
        assert pod["automountServiceAccountToken"] is False
        assert not pod.get("hostPID")
        assert not pod.get("hostIPC")
        for one in [*pod.get("initContainers", ()), *pod["containers"]]:
            context = one["securityContext"]
            assert not context.get("privileged"), one["name"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"]["drop"] == ["ALL"]
            assert set(context["capabilities"].get("add", ())) <= {
                "NET_ADMIN",
                "NET_BIND_SERVICE",
                "NET_RAW",
            }
            holds_identity = "identity" in {mount["name"] for mount in one["volumeMounts"]}
            assert holds_identity == (one["name"] in ("operator", "agent"))


def _lent(pod: dict[str, Any], *containers: str) -> set[tuple[str, bool]]:
    """Folders of the host that these containers see, and whether they may write there."""
    folders = {one["name"]: one["hostPath"]["path"] for one in pod["volumes"] if "hostPath" in one}
    return {
        (folders[mount["name"]], not mount.get("readOnly", False))
        for one in [*pod["initContainers"], *pod["containers"]]
        for mount in one["volumeMounts"]
        if mount["name"] in folders and one["name"] in containers
    }


def test_the_guard_is_first_and_the_host_lends_few_folders() -> None:
    pod = _pods()["DaemonSet"]
    assert pod["initContainers"][0]["name"] == "guard"
    assert pod["hostNetwork"] is True
    assert pod["priorityClassName"] == "system-node-critical"
    assert _lent(pod, "agent") == {("/run/openvswitch", False), ("/var/lib/geneveil", True)}
    assert _lent(pod, "charon") == set()
    # only what ends before anything else runs may write into the host's /etc and /proc/sys
    boot = {("/etc/geneveil", True), ("/etc/systemd/system", True)}
    assert _lent(pod, "guard") == {("/var/lib/geneveil", True), *boot}
    assert _lent(pod, "acq-expires") == {("/proc/sys/net/core", True)}
