"""A copy of our programs for the guests, so that editing a file changes no running lab."""

import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from lab.build.cache import Cache, Recipe, remove_tree
from lab.build.guest_python import precompile
from lab.build.meter import Step
from lab.build.workbench import Workbench

_TOP = Path(__file__).parents[2]
# What is copied, and where it stands in the copy.
_COPIED = {"src/geneveil": "geneveil", "deploy": "deploy"}
_KEPT = 5
# A lab that runs on an older copy must not lose it while somebody edits.
_KEPT_SECONDS = 24 * 3600


def recipe(rootfs: Path) -> Recipe:
    """What the copy is made of: the files' names and contents."""
    files = {name: path.read_bytes() for name, path in _files()}
    return Recipe(
        kind="code",
        title="copy of our programs",
        inputs={**files, "recipe of the copy": b"1"},
        product="code",
        needed_mib=20,
        steps=(Step("copy", 1), Step("precompile", 2)),
        make=partial(_make, rootfs, files),
    )


def prune(cache: Cache, used: Path) -> None:
    """Remove old copies: all but the last few, and none that was used within a day."""
    # Its time says when a copy was last used.
    used.parent.touch()
    copies = sorted(used.parent.parent.glob("[!.]*"), key=lambda p: p.stat().st_mtime)
    for folder in copies[:-_KEPT]:
        if time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
            remove_tree(folder)


def _make(rootfs: Path, files: Mapping[str, bytes], bench: Workbench) -> Mapping[str, str]:
    bench.step("copy")
    copy = bench.folder / "code"
    # What was read for the key is written: somebody may be editing.
    for name, content in files.items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(content)
    bench.step("precompile")
    precompile(bench, rootfs, copy, "opt/geneveil")
    return {"files": str(len(files))}


def _files() -> Iterator[tuple[str, Path]]:
    for source, place in _COPIED.items():
        top = _TOP / source
        for path in sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{place}/{path.relative_to(top)}", path
