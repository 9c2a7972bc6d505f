"""A program for the interruption tests: the lab's own build, of artifacts that wait to be killed.

    python slow_build.py CACHE MARK

What is built is all that differs: pool, stop and cleaning up are `lab.build.artifacts.ensure`'s
own. It builds two artifacts at once, as the real one does with kernel and root file system. Writes
"ready" once the program and its child of each run. They differ from others by their argument, so
that a test can look for them.
"""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from lab.build import artifacts, kernel, rootfs
from lab.build.cache import Cache, Recipe
from lab.build.contain import Contain
from lab.build.errors import BuildError
from lab.build.meter import Step
from lab.build.progress import Silent
from lab.build.workbench import Workbench

KINDS = ("kernel", "rootfs")
# A child that leaves its parent's session, as a package's scripts may, must die too.
_WAITS = 'setsid sleep 86400.$1 & sleep 86400.$1 & echo "ready"; wait'


def recipe(kind: str, mark: str) -> Recipe:
    """An artifact that is half made when its program starts to wait."""

    def make(bench: Workbench) -> Mapping[str, str]:
        bench.step("wait")
        (bench.folder / "half").write_text("made")
        bench.run(
            ["bash", "-c", _WAITS, "waits", mark],
            need=Contain.PACKAGES,
            on_line=lambda line: print(line, flush=True),
        )
        return {}

    return Recipe(
        kind, f"slow {kind}", {"mark": mark.encode()}, "half", 1, (Step("wait", 1),), make
    )


def main() -> None:
    mark = sys.argv[2]
    # A shell that starts something beside it may have made it deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kernel.recipe = lambda: recipe("kernel", mark)
    rootfs.recipe = lambda: recipe("rootfs", mark)
    try:
        artifacts.ensure(Silent(), Cache(Path(sys.argv[1])))
    except KeyboardInterrupt:
        sys.exit(130)
    except BuildError as error:
        sys.exit(f"failed: {error.what}")


if __name__ == "__main__":
    main()
