"""What is not asked for stays as it is."""

import base64
import json
from typing import Any

import pytest

from geneveil.agent.boot_files.io import boot_files
from geneveil.agent.boot_files.plan import Owner
from geneveil.guard.script import render_guard_script
from geneveil.install.apply import read_switch
from geneveil.install.io import read_manifest
from geneveil.install.machine_config import HostUnit, render_machine_configs
from geneveil.install.okd import OkdSwitch
from geneveil.install.plan import settle_mode
from geneveil.install.render import manifest_files, render_objects
from geneveil.install.standing import Asked, Standing, follow_okd, judge_standing, settle_wish
from geneveil.install.wish import InstallWish
from geneveil.model.cluster import Mode
from geneveil.model.errors import RefusedError, TrustError
from geneveil.model.guard import GuardSpec

THERE = Standing("elsewhere", "example.test/signer", "example.test/g:1", openshift=True)


def _installed(wish: InstallWish, *without: str) -> Standing:
    """As the objects of an installation say it."""
    objects = render_objects(wish, [read_manifest(name) for name in manifest_files(wish)])

    def find(kind: str, name: str) -> dict[str, Any] | None:
        names = (kind, name)
        there = [o for o in objects if (o["kind"], o["metadata"]["name"]) == names]
        return there[0] if there and kind not in without else None

    binding = find("ClusterRoleBinding", "geneveil-operator")
    assert binding is not None
    return judge_standing(
        binding,
        find("ClusterRole", "geneveil-operator"),
        find("Deployment", "geneveil-operator"),
        find("Role", "geneveil-agent-scc"),
    )


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("openshift", [False, True])
def test_an_installation_says_what_it_was_made_with(mode: Mode, openshift: bool) -> None:
    wish = InstallWish(mode, {}, "elsewhere", "example.test/signer", "example.test/g:1", openshift)
    expected = Standing("elsewhere", "example.test/signer", "example.test/g:1", openshift)
    assert _installed(wish) == expected


def test_of_half_an_installation_only_what_is_there_counts() -> None:
    wish = InstallWish(Mode.FULL, {}, "elsewhere", "example.test/signer", "example.test/g:1")
    half = _installed(wish, "Deployment", "ClusterRole", "Role")
    assert half == Standing("elsewhere", "", "", openshift=False)
    assert settle_wish(Asked(), half, is_openshift=False).signer_name == "geneveil.io/node"


@pytest.mark.parametrize(
    ("asked", "changed"),
    [
        (Asked(), {}),
        (Asked(image="example.test/g:2"), {"image": "example.test/g:2"}),
        (Asked(signer_name="example.test/new"), {"signer_name": "example.test/new"}),
        (Asked(openshift=False), {"openshift": False}),
        (Asked(namespace="elsewhere"), {}),
    ],
)
def test_only_what_is_asked_for_changes(asked: Asked, changed: dict[str, Any]) -> None:
    kept = {
        "namespace": "elsewhere",
        "signer_name": "example.test/signer",
        "image": "example.test/g:1",
        "openshift": True,
    }
    wish = settle_wish(asked, THERE, is_openshift=False)
    assert wish == InstallWish(Mode.DISABLED, **{**kept, **changed})


def test_a_new_cluster_gets_defaults() -> None:
    assert settle_wish(Asked(), None, is_openshift=False) == InstallWish(Mode.DISABLED)
    assert settle_wish(Asked(), None, is_openshift=True).openshift is True


def test_a_second_installation_is_refused() -> None:
    with pytest.raises(RefusedError, match="in namespace elsewhere already"):
        settle_wish(Asked(namespace="geneveil-system"), THERE, is_openshift=False)


@pytest.mark.parametrize(
    ("asked", "mode", "spec"),
    [
        (Asked(), Mode.FULL, {"genevePorts": [6082]}),
        (Asked(Mode.FULL), Mode.FULL, {"genevePorts": [6082]}),
        (Asked(Mode.FULL, {"genevePorts": [7]}), Mode.FULL, {"genevePorts": [7]}),
    ],
)
def test_okds_switch_says_what_nobody_else_did(
    asked: Asked, mode: Mode, spec: dict[str, Any]
) -> None:
    followed = follow_okd(asked, OkdSwitch(Mode.FULL, {"genevePorts": [6082]}))
    assert (followed.mode, followed.spec) == (mode, spec)


def test_off_is_refused_where_okd_says_on() -> None:
    with pytest.raises(RefusedError, match="installed with IPsec on"):
        follow_okd(Asked(Mode.DISABLED), OkdSwitch(Mode.FULL, {}))
    assert follow_okd(Asked(Mode.FULL), OkdSwitch(Mode.DISABLED, {})).mode is Mode.FULL


class _Cluster:
    """Has what it is given, by its kind."""

    def __init__(self, **kinds: dict[str, Any]) -> None:
        self._kinds = kinds

    def read(self, document: Any) -> dict[str, Any] | None:
        return self._kinds.get(document["kind"])

    def apply(self, document: Any, *, dry_run: bool, force: bool) -> dict[str, Any]:
        raise AssertionError("nothing is to be changed")

    def wait_for_definition(self, name: str) -> None:
        raise AssertionError("nothing is to be changed")


def _trust(**settings: Any) -> dict[str, Any]:
    return {"data": {"trust.json": json.dumps({"settings": settings})}}


def test_a_switch_that_is_gone_is_not_made_anew() -> None:
    trust = _trust(mode="Full", encapsulation="Always", genevePorts=[6082], name="x")
    there, is_gone = read_switch(_Cluster(ConfigMap=trust), InstallWish(Mode.DISABLED))
    assert is_gone
    assert there == {"spec": {"mode": "Full", "encapsulation": "Always", "genevePorts": [6082]}}
    assert settle_mode(None, there) is Mode.FULL
    with pytest.raises(RefusedError, match="never off again"):
        settle_mode(Mode.DISABLED, there)
    wish = InstallWish(Mode.FULL, makes_switch=False)
    kinds = [one["kind"] for one in render_objects(wish, map(read_manifest, manifest_files(wish)))]
    assert kinds.count("ClusterIPsec") == 0
    assert kinds.count("DaemonSet") == 1


def test_a_switch_that_is_there_or_never_was() -> None:
    switch = {"spec": {"mode": "Disabled"}}
    wish = InstallWish(Mode.DISABLED)
    assert read_switch(_Cluster(ClusterIPsec=switch, ConfigMap=_trust()), wish) == (switch, False)
    assert read_switch(_Cluster(), wish) == (None, False)


def test_what_was_sealed_is_not_guessed() -> None:
    with pytest.raises(TrustError, match="can't be read"):
        read_switch(_Cluster(ConfigMap={"data": {}}), InstallWish(Mode.DISABLED))


def test_machine_configs_bring_unit_and_script_to_every_pool() -> None:
    spec = GuardSpec((6081, 6082))
    files = boot_files(spec, Owner.MACHINE_CONFIG)
    unit = HostUnit(files.paths.unit.name, files.unit, f"/{files.paths.script}", files.script)
    made = render_machine_configs(unit)
    roles = [one["metadata"]["labels"]["machineconfiguration.openshift.io/role"] for one in made]
    assert roles == ["master", "worker"]
    for one in made:
        config = one["spec"]["config"]
        (file,) = config["storage"]["files"]
        (enabled,) = config["systemd"]["units"]
        source = file["contents"]["source"]
        _, _, encoded = source.partition("data:text/plain;charset=utf-8;base64,")
        assert base64.b64decode(encoded).decode() == render_guard_script(spec)
        assert f"ExecStart=nft -f {file['path']}" in enabled["contents"]
        assert enabled["enabled"] is True
