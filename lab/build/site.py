"""The Python packages that our programs need, for the guests' Python.

Only files whose hashes stand in `requirements/runtime.lock` are used. The guests have no pip and no
network; the host fetches for them.
"""

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from lab.build.cache import Recipe
from lab.build.errors import HostError
from lab.build.guest_python import precompile
from lab.build.locked import GUEST_PYTHON, Pin, pins_for_guests
from lab.build.meter import Step
from lab.build.workbench import Workbench

LOCK = Path(__file__).parents[2] / "requirements/runtime.lock"
# Published as source alone. Pure Python, if its optional C part is left out.
_FROM_SOURCE = frozenset({"ovs"})
# Every manylinux that trixie's glibc 2.41 can run; wheels name one or the other.
_PLATFORMS = (
    *(f"manylinux{year}_x86_64" for year in ("1", "2010", "2014")),
    *(f"manylinux_2_{minor}_x86_64" for minor in range(5, 42)),
)
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-cache-dir")


def recipe(rootfs: Path) -> Recipe:
    """What the packages are made of.

    Args:
        rootfs: only its Python is used, and that is the same for every root file system of one
            Debian release; so it does not enter the key.
    Raises:
        HostError: not an x86-64 machine.
    """
    machine = os.uname().machine
    if machine != "x86_64":
        raise HostError(
            f"the lab runs on x86_64 machines, and this one is {machine}",
            why="User-Mode Linux exists for x86 alone",
        )
    return Recipe(
        kind="site",
        title="Python packages",
        inputs={
            "lock": LOCK.read_bytes(),
            "python": GUEST_PYTHON.encode(),
            "machine": machine.encode(),
            "recipe": b"1",
        },
        product="site",
        needed_mib=250,
        steps=(Step("fetch", 15), Step("build from source", 6), Step("precompile", 10)),
        make=partial(_make, rootfs),
    )


def _make(rootfs: Path, bench: Workbench) -> Mapping[str, str]:
    pins = pins_for_guests(LOCK.read_text())
    target = bench.folder / "site"
    bench.step("fetch")
    wheels = _write_pins(bench, "wheels", [p for p in pins if p.name not in _FROM_SOURCE])
    bench.run(
        [
            *_PIP,
            "install",
            f"--target={target}",
            f"--python-version={GUEST_PYTHON}",
            "--implementation=cp",
            *(f"--platform={platform}" for platform in _PLATFORMS),
            "--only-binary=:all:",
            "--no-deps",
            "--no-compile",
            "--require-hashes",
            f"--requirement={wheels}",
        ]
    )
    bench.step("build from source")
    _build_from_source(bench, [p for p in pins if p.name in _FROM_SOURCE], target)
    bench.step("precompile")
    precompile(bench, rootfs, target, "opt/site")
    return {pin.name: pin.version for pin in pins}


def _build_from_source(bench: Workbench, pins: list[Pin], target: Path) -> None:
    """Build wheels with the locked build tools of our own environment, then install them."""
    source = _write_pins(bench, "source", pins)
    built = bench.scratch / "built"
    bench.run(
        [
            *_PIP,
            "wheel",
            f"--wheel-dir={built}",
            "--no-deps",
            "--no-build-isolation",
            "--require-hashes",
            f"--requirement={source}",
        ],
        # Without a compiler the optional C part, which would be for the host's Python, is left out.
        env={"CC": "false"},
    )
    wheels = sorted(built.glob("*-py3-none-any.whl"))
    if len(wheels) != len(pins):
        names = ", ".join(path.name for path in built.glob("*"))
        raise HostError("a Python package came out for this machine's Python only", why=names)
    bench.run([*_PIP, "install", f"--target={target}", "--no-deps", "--no-compile", "--no-index",
               *map(str, wheels)])  # fmt: skip


def _write_pins(bench: Workbench, name: str, pins: list[Pin]) -> Path:
    path = bench.scratch / f"{name}.lock"
    path.write_text("".join(pin.line() + "\n" for pin in pins))
    return path
