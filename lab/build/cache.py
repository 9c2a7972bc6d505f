"""The cache folder: whole artifacts or none.

An artifact is a folder `<kind>/<key>` whose key is the SHA-256 of what goes into it. It is built in
a sibling folder under a lock and renamed into place when it is complete:

    <cache>/kernel/4f0c…/            linux, record.json        complete, never changed again
    <cache>/kernel/.building-4f0c…/  artifact/ scratch/        the builder holds the lock
    <cache>/locks/kernel-4f0c….lock                            flock; dies with its holder
    <cache>/logs/kernel-….log                                  kept when a build fails

So a killed builder leaves at most a `.building-` folder without a lock holder, which the next
build removes.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from lab.build.diagnosis import says_disk_full
from lab.build.errors import MIB, BuildError, NoSpaceError, StepFailedError, StoppedError
from lab.build.meter import Meter, Step, expected_from
from lab.build.progress import Reporter
from lab.build.workbench import Stop, Workbench

_BUILDING = ".building-"
_KEY_CHARACTERS = 20
_KEPT_LOGS = 5
_WAIT_POLL_SECONDS = 0.2
# Makes backup programs leave the folder out, and tells us that it is ours.
# Source: the Cache Directory Tagging Specification.
_TAG = "CACHEDIR.TAG"
_TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# A cache folder of geneveil's lab.\n"
_UNFIT = re.compile(r"[\s:\"']")


@dataclass(frozen=True)
class Recipe:
    """How one artifact is made.

    Args:
        kind: names the artifact ("kernel") and its folder in the cache.
        title: what people read.
        inputs: all that decides what comes out, by name; nothing that needs the network.
        product: name of the file or folder that users of the artifact want.
        needed_mib: free disk that a build needs at its peak.
        steps: in order, with default durations.
        make: builds into `bench.folder`; returns facts for the record.
    """

    kind: str
    title: str
    inputs: Mapping[str, bytes]
    product: str
    needed_mib: int
    steps: tuple[Step, ...]
    make: Callable[[Workbench], Mapping[str, str]]

    @property
    def key(self) -> str:
        """Hex digits that change whenever an input does."""
        digest = sha256(self.kind.encode())
        for name, value in sorted(self.inputs.items()):
            digest.update(f"\n{name} {len(value)} ".encode() + value)
        return digest.hexdigest()[:_KEY_CHARACTERS]


def default_root() -> Path:
    """GENEVEIL_CACHE, or `geneveil` in the XDG cache folder."""
    own = os.environ.get("GENEVEIL_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "geneveil"
    except RuntimeError:
        raise BuildError("no home folder to keep a cache in", remedy="set GENEVEIL_CACHE") from None


class Cache:
    """Finds and builds artifacts below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, recipe: Recipe) -> Path:
        return self.root / recipe.kind / recipe.key

    def find(self, recipe: Recipe) -> Path | None:
        """The product, if its artifact is there; being there, it is complete."""
        folder = self.folder(recipe)
        if not (folder / "record.json").is_file():
            return None
        return folder / recipe.product

    def record(self, recipe: Recipe) -> dict[str, Any] | None:
        """When and of what the artifact was built."""
        try:
            text = (self.folder(recipe) / "record.json").read_text()
        except FileNotFoundError:
            return None
        loaded: dict[str, Any] = json.loads(text)
        return loaded

    def obtain(self, recipe: Recipe, reporter: Reporter, stop: Stop, *, anew: bool = False) -> Path:
        """The product; built now if it is not there, or if it is wanted anew.

        What is there stays until the new one is complete.

        Raises:
            NoSpaceError: too little disk, before or while building.
            BuildError: the build failed; the cache has no trace of it but the log.
        """
        with self._usable():
            found = self.find(recipe)
            if found and not anew:
                return found
            self._make_folders(recipe)
            with self._locked(recipe, reporter, stop):
                found = self.find(recipe)
                if found and not anew:
                    return found
                self._remove_leftovers(recipe)
                return self._build(recipe, reporter, stop)

    def remove_others(self, wanted: Iterable[Recipe]) -> list[Path]:
        """Remove artifacts that none of these recipes makes, and what dead builders left."""
        removed = []
        with self._usable():
            for recipe in wanted:
                if (self.root / recipe.kind).is_dir():
                    self._remove_leftovers(recipe)
                for folder in sorted((self.root / recipe.kind).glob("[!.]*")):
                    if folder.name != recipe.key:
                        _remove_whole(folder)
                        removed.append(folder)
        return removed

    def remove_all(self) -> list[Path]:
        """Remove the folder, if it looks like one of ours."""
        with self._usable():
            if not self.root.exists():
                return []
            tag = self.root / _TAG
            if not tag.is_file() or tag.read_text() != _TAG_TEXT:
                raise BuildError(f"not removed: {self.root}", why="it is not a cache of ours")
            remove_tree(self.root)
        return [self.root]

    def check_space(self, recipes: Iterable[Recipe], anew: Collection[str] = ()) -> None:
        """Refuse before anything begins if the disk can't take what is missing of these.

        Args:
            recipes: all that is wanted.
            anew: the kinds that are built even if they are there.
        Raises:
            NoSpaceError: says how much is needed and how much there is.
        """
        with self._usable():
            missing = [r for r in recipes if r.kind in anew or not self.find(r)]
            if not missing:
                return
            for recipe in missing:
                self._make_folders(recipe)
            free_mib = shutil.disk_usage(self.root).free // MIB
        needed_mib = sum(recipe.needed_mib for recipe in missing)
        if free_mib < needed_mib:
            what = " and ".join(f"the {recipe.title}" for recipe in missing)
            raise NoSpaceError(what, self.root, needed_mib, free_mib)

    def _make_folders(self, recipe: Recipe) -> None:
        if _UNFIT.search(str(self.root)):
            raise BuildError(
                f"can't use the cache folder {self.root}",
                why="a kernel can't be built below a name with spaces, colons or quotes",
                remedy="set GENEVEIL_CACHE to another folder",
            )
        for name in ("locks", "logs", recipe.kind):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        if not (self.root / _TAG).exists():
            (self.root / _TAG).write_text(_TAG_TEXT)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """What goes wrong with the folder itself is said as such; a build explains its own."""
        try:
            yield
        except OSError as error:
            raise BuildError(
                f"can't use the cache folder {self.root}",
                why=f"{error.filename}: {error.strerror}" if error.filename else str(error),
                remedy="set GENEVEIL_CACHE to a folder that you may write",
            ) from None

    @contextmanager
    def _locked(self, recipe: Recipe, reporter: Reporter, stop: Stop) -> Iterator[None]:
        path = self.root / "locks" / f"{recipe.kind}-{recipe.key}.lock"
        with path.open("a") as handle:
            waiting = False
            while not _try_lock(handle.fileno()):
                if not waiting:
                    reporter.say(f"another process is building the {recipe.title}; waiting for it")
                    waiting = True
                if stop.stopped:
                    raise StoppedError("stopped")
                time.sleep(_WAIT_POLL_SECONDS)
            yield

    def _remove_leftovers(self, recipe: Recipe) -> None:
        """Remove build folders whose builder is dead: nobody holds their lock."""
        for folder in (self.root / recipe.kind).glob(f"{_BUILDING}*"):
            key = folder.name.removeprefix(_BUILDING)
            if key == recipe.key:
                remove_tree(folder)
                continue
            with (self.root / "locks" / f"{recipe.kind}-{key}.lock").open("a") as handle:
                if _try_lock(handle.fileno()):
                    remove_tree(folder)

    def _build(self, recipe: Recipe, reporter: Reporter, stop: Stop) -> Path:
        self.check_space([recipe], anew=[recipe.kind])
        temp = self.root / recipe.kind / f"{_BUILDING}{recipe.key}"
        started = datetime.now(UTC)
        log = self.root / "logs" / f"{recipe.kind}-{started:%Y%m%dT%H%M%S}-{os.getpid()}.log"
        meter = Meter(expected_from(recipe.steps, self._durations(recipe)), time.monotonic())
        bench = Workbench(recipe.title, temp / "artifact", temp / "scratch", log, meter, stop)
        bench.changed = lambda: reporter.moved(recipe.kind)
        reporter.begin(recipe.kind, recipe.title, meter)
        try:
            for folder in (temp, bench.folder, bench.scratch):
                folder.mkdir()
            facts = recipe.make(bench)
            meter.finish(time.monotonic())
            self._complete(recipe, bench, facts, started)
        except BaseException as error:
            # Explained first: what fills the disk is about to be removed.
            explained = self._explained(recipe, error)
            reporter.end(recipe.kind, "stopped" if stop.stopped else "failed")
            remove_tree(temp)
            raise explained from None
        remove_tree(temp)
        self._remember_durations(recipe, meter)
        self._prune_logs(recipe)
        reporter.end(recipe.kind, "built")
        return self.folder(recipe) / recipe.product

    def _complete(
        self, recipe: Recipe, bench: Workbench, facts: Mapping[str, str], started: datetime
    ) -> None:
        """Write the record, make all of it durable, and only then give it its name."""
        record = {
            "kind": recipe.kind,
            "key": recipe.key,
            "built": f"{started:%Y-%m-%dT%H:%M:%SZ}",
            "seconds": round(sum(bench.meter.seconds.values()), 1),
            "facts": dict(facts),
        }
        (bench.folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")
        # Without this a power cut could leave a complete name with empty files in it.
        subprocess.run(["sync", "-f", str(bench.folder)], check=False)
        _remove_whole(self.folder(recipe))
        bench.folder.rename(self.folder(recipe))

    def _explained(self, recipe: Recipe, error: BaseException) -> BaseException:
        """A full disk looks like anything: say that it is one."""
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if isinstance(error, StepFailedError):
            full = says_disk_full(error.lines)
        if full:
            free_mib = shutil.disk_usage(self.root).free // MIB
            what, needed_mib = f"the {recipe.title}", recipe.needed_mib
            return NoSpaceError(what, self.root, needed_mib, free_mib, meanwhile=True)
        if isinstance(error, OSError):
            return BuildError(f"building the {recipe.title} failed", why=str(error))
        return error

    def _durations(self, recipe: Recipe) -> Mapping[str, float]:
        try:
            loaded = json.loads((self.root / f"durations-{recipe.kind}.json").read_text())
            return {str(name): float(value) for name, value in loaded.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}  # only an estimate is lost

    def _remember_durations(self, recipe: Recipe, meter: Meter) -> None:
        path = self.root / f"durations-{recipe.kind}.json"
        temp = path.with_suffix(f".{os.getpid()}")
        temp.write_text(json.dumps(meter.seconds))
        temp.rename(path)

    def _prune_logs(self, recipe: Recipe) -> None:
        logs = sorted((self.root / "logs").glob(f"{recipe.kind}-*.log"))
        for log in logs[:-_KEPT_LOGS]:
            log.unlink(missing_ok=True)


def _remove_whole(folder: Path) -> None:
    """Remove an artifact, if it is there. Its name goes first: it is never seen half removed."""
    doomed = folder.with_name(f"{_BUILDING}removed-{folder.name}")
    try:
        folder.rename(doomed)
    except FileNotFoundError:
        return
    remove_tree(doomed)


def remove_tree(folder: Path) -> None:
    """Remove a folder of ours, also where a package made folders that we may not write."""

    def retry(function: Callable[..., Any], path: str, _error: Any) -> None:
        parent = Path(path).parent
        parent.chmod(0o700)
        if Path(path).is_dir() and not Path(path).is_symlink():
            Path(path).chmod(0o700)
        function(path)

    if folder.exists():
        shutil.rmtree(folder, onerror=retry)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
