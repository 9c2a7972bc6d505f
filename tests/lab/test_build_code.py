"""Old copies of our programs go, but not from under a lab that runs on one."""

import os
import time
from pathlib import Path

from lab.build import code
from lab.build.cache import Cache

DAY_SECONDS = 24 * 3600


def _copies(root: Path, ages_seconds: dict[str, float]) -> None:
    for name, age_seconds in ages_seconds.items():
        folder = root / "code" / name
        (folder / "code").mkdir(parents=True)
        then = time.time() - age_seconds
        os.utime(folder, (then, then))


def test_the_last_copies_and_the_ones_of_today_are_kept(tmp_path: Path) -> None:
    old = {f"old{number}": DAY_SECONDS * (2 + number) for number in range(6)}
    _copies(tmp_path, {**old, "today": 60, "used": DAY_SECONDS * 30})
    code.prune(Cache(tmp_path), tmp_path / "code/used/code")
    kept = {path.name for path in (tmp_path / "code").iterdir()}
    assert kept == {"used", "today", "old0", "old1", "old2"}


def test_many_copies_of_one_day_are_all_kept(tmp_path: Path) -> None:
    names = {f"copy{number}": float(number) for number in range(9)}
    _copies(tmp_path, names)
    code.prune(Cache(tmp_path), tmp_path / "code/copy0/code")
    assert {path.name for path in (tmp_path / "code").iterdir()} == set(names)


def test_a_copy_that_is_being_built_is_no_old_copy(tmp_path: Path) -> None:
    _copies(tmp_path, {f"copy{n}": 60.0 for n in range(5)} | {".building-x": DAY_SECONDS * 9})
    code.prune(Cache(tmp_path), tmp_path / "code/copy0/code")
    assert (tmp_path / "code/.building-x").is_dir()


def test_caches_of_the_hosts_python_are_not_copied() -> None:
    inputs = code.recipe(Path()).inputs
    assert "geneveil/model/errors.py" in inputs
    assert not [name for name in inputs if name.endswith(".pyc")]
