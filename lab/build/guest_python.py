"""Compiles Python files with the guests' own Python, so that no guest has to at each start."""

from pathlib import Path

from lab.build.contain import Contain
from lab.build.workbench import Workbench

# In a mount namespace of its own: the mount is gone with the program.
_COMPILE = (
    'set -eu; mount --bind "$1" "$2/$3"; '
    # Checked against nothing at run time: these files never change, and their times mean nothing.
    'exec chroot "$2" /usr/bin/python3 '
    '-m compileall -q --invalidation-mode unchecked-hash "/$3"'
)


def precompile(bench: Workbench, rootfs: Path, folder: Path, place: str) -> None:
    """Compile all files of `folder`, named in tracebacks as if in `/<place>` of a guest."""
    bench.run(
        ["bash", "-c", _COMPILE, "precompile", str(folder), str(rootfs), place], need=Contain.ROOT
    )
