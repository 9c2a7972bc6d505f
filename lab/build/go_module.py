"""Go programs of others, built from sources whose hashes stand in `lab/build/go/<name>/go.sum`.

`go.mod` there is a main module without code of its own: it names the programs' module, and so
the version. Where sources come from is the machine's own Go setting (go env GOPROXY).
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.build.contain import search_path
from lab.build.errors import BuildError, HostError
from lab.build.workbench import Workbench

MODULES = Path(__file__).parent / "go"
_VERSION = re.compile(r"go(\d+)\.(\d+)(?:\.(\d+))?")
_USUAL_PLACE = "/usr/local/go/bin"


@dataclass(frozen=True)
class GoProgram:
    """One program.

    Args:
        name: of the file that comes out.
        package: what is built.
    """

    name: str
    package: str


@dataclass(frozen=True)
class GoModule:
    """One folder below `lab/build/go`, and what is built from it.

    Args:
        folder: its name.
        main: the module whose version is that of the programs.
        version_variables: what the linker sets: variable -> text, in which {version} is the
            version ("v1.2.3"), {major} and {minor} its parts.
    """

    folder: str
    main: str
    programs: tuple[GoProgram, ...]
    version_variables: tuple[tuple[str, str], ...] = ()

    def inputs(self) -> dict[str, bytes]:
        """All that decides what comes out, but for the compiler."""
        names = ("go.mod", "go.sum")
        files = {
            f"{self.folder}/{name}": (MODULES / self.folder / name).read_bytes() for name in names
        }
        return {**files, f"{self.folder} programs": repr(self).encode()}

    def version(self) -> str:
        return required_version((MODULES / self.folder / "go.mod").read_text(), self.main)


def required_version(go_mod: str, module: str) -> str:
    """The version that a go.mod requires of a module.

    Raises:
        BuildError: it requires none.
    """
    found = re.search(rf"^(?:require)?\s+{re.escape(module)} (v\S+)$", go_mod, re.MULTILINE)
    if found is None:
        raise BuildError(f"go.mod does not require {module}")
    return found[1]


def linker_flags(variables: tuple[tuple[str, str], ...], version: str) -> str:
    """What makes a program say its true version; without debugging symbols."""
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {"version": version, "major": major, "minor": minor}
    return " ".join(
        ["-s", "-w", *(f"-X {name}={text.format(**values)}" for name, text in variables)]
    )


def go_problem(has: str, toolchain: str, needs: str) -> HostError | None:
    """Why this Go can't build a module; None if it can.

    Args:
        has: as `go env GOVERSION` says it ("go1.24.4").
        toolchain: as `go env GOTOOLCHAIN` says it; "local" forbids fetching a newer Go.
        needs: the module's go line ("1.26.0").
    """
    found, wanted = _VERSION.match(has), _VERSION.match(f"go{needs}")
    assert wanted is not None  # noqa: S101  from our own go.mod
    if found is None:
        return HostError(f"can't tell the version of this machine's Go: {has!r}")
    if _numbers(found) >= _numbers(wanted):
        return None
    # Since 1.21 Go fetches the one that a module asks for.
    if _numbers(found) >= (1, 21, 0) and toolchain != "local":
        return None
    return HostError(
        f"building Kubernetes' API server needs Go {needs}, and this machine has {has}",
        remedy="install a newer Go; or, with 1.21 or later, let it fetch the one that it needs: "
        "set GOTOOLCHAIN=auto. Or set KUBEBUILDER_ASSETS to a folder with built programs",
    )


def has_go() -> bool:
    """Whether this machine has any Go."""
    return _look_for_go() is not None


def find_go() -> str:
    """The machine's Go.

    Raises:
        HostError: there is none.
    """
    go = _look_for_go()
    if go is None:
        raise HostError(
            "this machine has no go, which builds Kubernetes' API server for the tests",
            remedy="run: sudo apt-get install golang-go, or install a newer one",
        )
    return go


def build_module(bench: Workbench, module: GoModule, to: Path) -> str:
    """Fetch the sources and build the programs into a folder; two steps of the recipe.

    The compiler's own cache is thrown away with the scratch folder, unless GOCACHE is set: it
    would be gigabytes that nobody asked for. The module cache is the machine's.

    Returns:
        The programs' version.
    """
    go, version = find_go(), module.version()
    folder = MODULES / module.folder
    _check_go(bench, go, (folder / "go.mod").read_text())
    cache = os.environ.get("GOCACHE") or str(bench.scratch / "go-cache")
    env = {"GOCACHE": cache, "CGO_ENABLED": "0", "GOWORK": "off", "GO111MODULE": "on"}
    packages = [program.package for program in module.programs]
    bench.step(f"fetch {module.folder}")
    there = _Count(bench, None)
    bench.run(
        [go, "list", "-mod=readonly", "-deps", *packages], cwd=folder, env=env, on_line=there.line
    )
    bench.step(f"compile {module.folder}")
    compiled = _Count(bench, there.packages)
    to.mkdir(exist_ok=True)
    flags = linker_flags(module.version_variables, version)
    for program in module.programs:
        bench.run(
            [
                *(go, "build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false"),
                *(f"-ldflags={flags}", f"-o={to / program.name}", program.package),
            ],
            cwd=folder,
            env=env,
            on_line=compiled.line,
        )
    return version


class _Count:
    """Counts packages that Go names, one a line; and tells the bench if the sum is known."""

    def __init__(self, bench: Workbench, total: int | None) -> None:
        self._bench = bench
        self._total = total
        self.packages = 0

    def line(self, line: str) -> None:
        if line.startswith("go: ") or " " in line:
            return
        self.packages += 1
        if self._total:
            # Linking comes after the last package.
            self._bench.count(0.97 * self.packages / self._total)


def _look_for_go() -> str | None:
    return shutil.which("go", path=f"{search_path()}:{_USUAL_PLACE}")


def _check_go(bench: Workbench, go: str, go_mod: str) -> None:
    """Outside of the module, where Go answers whatever its version."""
    needs = re.search(r"^go (\S+)$", go_mod, re.MULTILINE)
    assert needs is not None  # noqa: S101  our own file
    answer = bench.run([go, "env", "GOVERSION", "GOTOOLCHAIN"], cwd=bench.scratch).splitlines()
    problem = go_problem(answer[0], answer[-1].strip(), needs[1])
    if problem:
        raise problem


def _numbers(found: "re.Match[str]") -> tuple[int, ...]:
    return tuple(int(part or 0) for part in found.groups())
