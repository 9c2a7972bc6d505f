"""How other people's Go programs are pinned and built."""

import os
from pathlib import Path

import pytest

from lab.build import kubernetes
from lab.build.errors import BuildError, HostError
from lab.build.go_module import MODULES, GoModule, go_problem, linker_flags, required_version

ALL = (kubernetes.KUBERNETES, kubernetes.ETCD, kubernetes.HELM)


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.folder)
def test_sources_are_pinned_by_hash_and_name_no_host(module: GoModule) -> None:
    sums = (MODULES / module.folder / "go.sum").read_text()
    assert f"{module.main} {module.version()} h1:" in sums
    for line in sums.splitlines():
        assert line.split(" ")[2].startswith("h1:")
    assert "://" not in sums + (MODULES / module.folder / "go.mod").read_text()


def test_all_of_kubernetes_is_of_one_release() -> None:
    release = kubernetes.KUBERNETES.version().removeprefix("v1.")
    text = (MODULES / "kubernetes/go.mod").read_text()
    replaced = [line.split()[-1] for line in text.splitlines() if " => " in line]
    assert len(replaced) > 25
    assert set(replaced) == {f"v0.{release}"}


def test_kubernetes_is_recent_enough() -> None:
    assert int(kubernetes.KUBERNETES.version().split(".")[1]) >= 33


def test_a_module_that_is_not_required_is_an_error() -> None:
    with pytest.raises(BuildError, match=r"does not require example\.org/a"):
        required_version("require example.org/ab v1.0.0\n", "example.org/a")


def test_programs_are_told_their_version() -> None:
    flags = linker_flags((("v.full", "{version}"), ("v.minor", "{minor}")), "v1.37.2")
    assert flags == "-s -w -X v.full=v1.37.2 -X v.minor=37"


GO = [
    ("as needed", "go1.26.0", "local", ""),
    ("newer", "go1.30.1", "local", ""),
    ("older, but may fetch", "go1.24.4", "auto", ""),
    ("older, and may not fetch", "go1.24.4", "local", "needs Go 1.26.0"),
    ("too old to fetch", "go1.19.8", "", "this machine has go1.19.8"),
    ("not to be understood", "devel", "auto", "can't tell"),
]


@pytest.mark.parametrize(("case", "has", "toolchain", "said"), GO)
def test_a_go_that_is_too_old_is_named(case: str, has: str, toolchain: str, said: str) -> None:
    problem = go_problem(has, toolchain, "1.26.0")
    assert (problem is None) == (not said)
    assert problem is None or said in problem.render()


def test_given_programs_are_taken_and_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("etcd", "kube-apiserver", "kubectl"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert kubernetes.given_programs(tmp_path) == tmp_path
    assert [recipe.kind for recipe in kubernetes.recipes()] == ["helm"]


def test_given_programs_must_all_be_there(tmp_path: Path) -> None:
    (tmp_path / "etcd").touch(mode=0o755)
    (tmp_path / "kubectl").touch(mode=0o644)
    assert os.access(tmp_path / "etcd", os.X_OK)
    with pytest.raises(HostError, match="has no kube-apiserver, kubectl"):
        kubernetes.given_programs(tmp_path)


def test_a_changed_version_is_another_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    keys = {recipe.kind: recipe.key for recipe in kubernetes.recipes()}
    assert set(keys) == set(kubernetes.KINDS)
    monkeypatch.setattr(GoModule, "inputs", lambda module: {"go.mod": b"other"})
    assert all(recipe.key != keys[recipe.kind] for recipe in kubernetes.recipes())
