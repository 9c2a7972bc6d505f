"""A program for the interruption tests: builds one small artifact whose steps wait to be killed.

    python slow_build.py CACHE

Writes "ready" once the build's program and its child run. They differ from others by their
argument, so that a test can look for them.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from lab.build.cache import Cache, Recipe
from lab.build.contain import Contain
from lab.build.meter import Step
from lab.build.progress import Silent
from lab.build.workbench import Stop, Workbench

# A child that leaves its parent's session, as a package's scripts may, must die too.
_WAITS = 'setsid sleep 86400.$1 & sleep 86400.$1 & echo "ready"; wait'


def recipe(mark: str) -> Recipe:
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
        "slow", "slow thing", {"mark": mark.encode()}, "half", 1, (Step("wait", 1),), make
    )


def main() -> None:
    cache, stop = Cache(Path(sys.argv[1])), Stop()
    try:
        # As `ensure` does: the building thread is not the one that gets Ctrl-C.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as pool:
            try:
                pool.submit(cache.obtain, recipe(sys.argv[2]), Silent(), stop).result()
            except BaseException:
                stop.now()
                raise
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
