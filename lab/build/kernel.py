"""The guests' kernel: Linux as a User-Mode Linux program, from trixie's kernel source.

Debian's own user-mode-linux package lacks conntrack zones, which OVN's flows need; so we build it,
with `lab/kernel.config` merged over the `um` default configuration. The result is one program
without modules.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from lab.build.apt import PrivateApt
from lab.build.archive import SUITE
from lab.build.cache import Recipe
from lab.build.errors import BuildError
from lab.build.kernel_config import check_config, parse_config, parse_wanted
from lab.build.meter import Step
from lab.build.workbench import Workbench

PACKAGE = "linux-source-6.12"
FRAGMENT = Path(__file__).parents[1] / "kernel.config"
PATCHES = Path(__file__).parent / "patches"
# Lines like "  CC      net/core/dev.o" that a build writes; only the time left depends on it.
_LINES_OF_A_BUILD = 1545
_COMPILED = re.compile(r"^ {2}[A-Z][A-Z_ ]* ")
_NEEDED_MIB = 1300
# Nothing below these is compiled, but their Kconfig and Makefiles are read: leave out the sources.
_UNUSED = (
    "Documentation",
    "drivers/gpu",
    "drivers/infiniband",
    "drivers/media",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/scsi",
    "drivers/staging",
    "sound",
    "tools/testing",
)
_SAME_FOR_ALL = {
    "KBUILD_BUILD_USER": "geneveil",
    "KBUILD_BUILD_HOST": "lab",
    "KBUILD_BUILD_TIMESTAMP": "1970-01-01",
}
_UNPACK = (
    "set -euo pipefail; package=$1; archive=$2; shift 2; "
    'dpkg-deb --fsys-tarfile "$package" | tar -xO "./usr/src/$archive" | tar -xJ "$@"'
)


def recipe() -> Recipe:
    """What a kernel is made of. Not the package's version: a found kernel needs no network."""
    return Recipe(
        kind="kernel",
        title="kernel",
        inputs={
            "fragment": FRAGMENT.read_bytes(),
            "package": f"{SUITE} {PACKAGE}".encode(),
            "machine": os.uname().machine.encode(),
            "recipe": b"2",
            "patches": b"".join(patch.read_bytes() for patch in _patches()),
        },
        product="linux",
        needed_mib=_NEEDED_MIB,
        steps=(
            Step("package lists", 4),
            Step("download", 10),
            Step("unpack", 20),
            Step("configure", 10),
            Step("compile", 240),
            Step("try", 1),
        ),
        make=_make,
    )


def _make(bench: Workbench) -> Mapping[str, str]:
    wanted = parse_wanted(FRAGMENT.read_text())
    bench.step("package lists")
    apt = PrivateApt(bench)
    apt.update()
    bench.step("download")
    package = apt.download(PACKAGE, bench.count)
    bench.step("unpack")
    source = _unpack(bench, package)
    bench.step("configure")
    _configure(bench, source, wanted)
    bench.step("compile")
    _compile(bench, source)
    bench.step("try")
    (source / "linux").rename(bench.folder / "linux")
    (source / ".config").rename(bench.folder / "config")
    version = bench.run([str(bench.folder / "linux"), "--version"]).strip()
    if not version.startswith("6.12"):
        raise BuildError("the built kernel does not run", why=f"it says it is {version!r}")
    return {"package": package.name, "version": version, "compiler": _compiler(bench.folder)}


def _unpack(bench: Workbench, package: Path) -> Path:
    endings = ("c", "h", "rst")
    unused = [f"--exclude={PACKAGE}/{place}/*.{end}" for place in _UNUSED for end in endings]
    bench.run(["bash", "-c", _UNPACK, "unpack", str(package), f"{PACKAGE}.tar.xz", *unused])
    package.unlink()
    source = bench.scratch / PACKAGE
    for patch in _patches():
        bench.run(["patch", "--strip=1", f"--input={patch}"], cwd=source)
    return source


def _patches() -> list[Path]:
    """Our changes to the source, each with its reason at its head."""
    return sorted(PATCHES.glob("*.patch"))


def _configure(bench: Workbench, source: Path, wanted: dict[str, str]) -> None:
    make = ["make", "ARCH=um"]
    bench.run([*make, "defconfig"], cwd=source, env=_SAME_FOR_ALL)
    with (source / ".config").open("a") as config:
        # A later line overrides an earlier one.
        config.writelines(f"{name}={value}\n" for name, value in wanted.items())
    bench.run([*make, "olddefconfig"], cwd=source, env=_SAME_FOR_ALL)
    differing = check_config(wanted, parse_config((source / ".config").read_text()))
    if differing:
        raise BuildError(
            "the kernel's configuration did not come out as lab/kernel.config asks",
            why="; ".join(differing),
            remedy="an option that another one needs is missing, or this kernel has no such option",
        )


def _compile(bench: Workbench, source: Path) -> None:
    seen = 0

    def count(line: str) -> None:
        nonlocal seen
        if _COMPILED.match(line):
            seen += 1
            bench.count(seen / _LINES_OF_A_BUILD)

    jobs = len(os.sched_getaffinity(0)) + 1
    bench.run(
        ["make", "ARCH=um", f"-j{jobs}", "linux"], cwd=source, env=_SAME_FOR_ALL, on_line=count
    )


def _compiler(folder: Path) -> str:
    text = parse_config((folder / "config").read_text()).get("CONFIG_CC_VERSION_TEXT", "")
    return text.strip('"')
