"""kube-apiserver, kubectl, etcd and helm: found in KUBEBUILDER_ASSETS, or built once."""

import os
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path

from lab.build import prerequisites
from lab.build.cache import Cache, Recipe, default_root
from lab.build.errors import HostError
from lab.build.go_module import GoModule, GoProgram, build_module, has_go
from lab.build.meter import Step
from lab.build.progress import Reporter, Silent
from lab.build.together import run_together
from lab.build.workbench import Stop, Workbench
from lab.kube.arguments import Programs

_VERSION = "k8s.io/component-base/version"
# An API server that does not know its version refuses its own emulation checks.
KUBERNETES = GoModule(
    "kubernetes",
    "k8s.io/kubernetes",
    (
        GoProgram("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
        GoProgram("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ),
    (
        (f"{_VERSION}.gitVersion", "{version}"),
        (f"{_VERSION}.gitMajor", "{major}"),
        (f"{_VERSION}.gitMinor", "{minor}"),
        (f"{_VERSION}.gitTreeState", "clean"),
    ),
)
ETCD = GoModule(
    "etcd", "go.etcd.io/etcd/server/v3", (GoProgram("etcd", "go.etcd.io/etcd/server/v3"),)
)
HELM = GoModule(
    "helm",
    "helm.sh/helm/v4",
    (GoProgram("helm", "helm.sh/helm/v4/cmd/helm"),),
    (("helm.sh/helm/v4/internal/version.version", "{version}"),),
)
KINDS = ("kubernetes", "helm")
_ASSETS = "KUBEBUILDER_ASSETS"
_GIVEN = ("etcd", "kube-apiserver", "kubectl")


def api_server_recipe() -> Recipe:
    """What kube-apiserver, kubectl and etcd are made of."""
    return _recipe(
        "kubernetes",
        "Kubernetes API server",
        (ETCD, KUBERNETES),
        needed_mib=5000,
        steps=(
            Step("fetch etcd", 15),
            Step("compile etcd", 60),
            Step("fetch kubernetes", 45),
            Step("compile kubernetes", 480),
            Step("try", 1),
        ),
    )


def helm_recipe() -> Recipe:
    """What helm is made of."""
    return _recipe(
        "helm",
        "helm program",
        (HELM,),
        needed_mib=2500,
        steps=(Step("fetch helm", 30), Step("compile helm", 200), Step("try", 1)),
    )


def recipes() -> list[Recipe]:
    """Those that this machine needs."""
    return [helm_recipe()] if os.environ.get(_ASSETS) else [api_server_recipe(), helm_recipe()]


def provide_go(say: Callable[[str], None], cache: Cache | None = None) -> None:
    """See to it that the machine has Go, if something is to be built with it.

    Raises:
        HostError: there is none, and this user or system can't install it.
    """
    place = cache or Cache(default_root())
    if has_go() or all(place.find(recipe) for recipe in recipes()):
        return
    prerequisites.provide(say, (prerequisites.GO_NEED,))


def ensure(
    progress: Reporter | None = None, cache: Cache | None = None, anew: Collection[str] = ()
) -> Programs:
    """Build what is missing and say where everything is. Takes no time if nothing is.

    Args:
        progress: is told what happens; nobody if not given.
        cache: where; the user's own cache folder if not given.
        anew: kinds that are built even if they are there.
    Raises:
        BuildError: something could not be built; the cache has no trace of it but the log.
        HostError: no Go, or one that is too old; or KUBEBUILDER_ASSETS lacks a program.
        KeyboardInterrupt: passed on once all programs are ended and all half-made folders removed.
    """
    reporter = progress or Silent()
    place = cache or Cache(default_root())
    stop = Stop()
    wanted = recipes()
    place.check_space(wanted, anew)

    def obtain() -> dict[str, Path]:
        # One after the other: each of them uses all processors.
        return {
            recipe.kind: place.obtain(recipe, reporter, stop, anew=recipe.kind in anew)
            for recipe in wanted
        }

    assets = os.environ.get(_ASSETS)
    given = given_programs(Path(assets)) if assets else None
    (folders,) = run_together([obtain], stop, reporter)
    there = given or folders["kubernetes"]
    return Programs(
        etcd=there / "etcd",
        kube_apiserver=there / "kube-apiserver",
        kubectl=there / "kubectl",
        helm=folders["helm"] / "helm",
    )


def given_programs(folder: Path) -> Path:
    """The folder that KUBEBUILDER_ASSETS names, if it has what is needed.

    Raises:
        HostError: it lacks a program.
    """
    missing = [name for name in _GIVEN if not os.access(folder / name, os.X_OK)]
    if missing:
        raise HostError(
            f"{_ASSETS} names {folder}, which has no {', '.join(missing)}",
            remedy=f"unset {_ASSETS} to have them built",
        )
    return folder.absolute()


def _recipe(
    kind: str,
    title: str,
    modules: tuple[GoModule, ...],
    *,
    needed_mib: int,
    steps: tuple[Step, ...],
) -> Recipe:
    inputs = {name: content for module in modules for name, content in module.inputs().items()}
    return Recipe(
        kind=kind,
        title=title,
        inputs={**inputs, "machine": os.uname().machine.encode(), "recipe": b"1"},
        product="bin",
        needed_mib=needed_mib,
        steps=steps,
        make=partial(_make, modules),
    )


def _make(modules: tuple[GoModule, ...], bench: Workbench) -> Mapping[str, str]:
    to = bench.folder / "bin"
    versions = {module.folder: build_module(bench, module, to) for module in modules}
    bench.step("try")
    for module in modules:
        for program in module.programs:
            _try_program(bench, to / program.name, versions[module.folder])
    return versions


def _try_program(bench: Workbench, program: Path, version: str) -> None:
    arguments = {"kubectl": ["version", "--client"], "helm": ["version", "--short"]}
    said = bench.run([str(program), *arguments.get(program.name, ["--version"])])
    if version.removeprefix("v") not in said:
        raise HostError(f"the built {program.name} is not {version}", why=f"it said: {said}")
