"""The four artifacts of a lab's guests, built where they are missing; and what is there of all."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.build import code, kernel, kubernetes, rootfs, site
from lab.build.cache import Cache, Recipe, default_root
from lab.build.progress import Reporter, Silent
from lab.build.together import run_together
from lab.build.workbench import Stop

GUEST_KINDS = ("kernel", "rootfs", "site", "code")
KINDS = (*GUEST_KINDS, *kubernetes.KINDS)


@dataclass(frozen=True)
class Artifacts:
    """What a lab's guests are made of; all of it read-only and shared by all labs.

    Args:
        kernel: the User-Mode Linux program.
        rootfs: the root file system's folder.
        site: Python packages, for /opt/site in a guest.
        code: our programs (`geneveil/`, `deploy/`), for /opt/geneveil in a guest.
    """

    kernel: Path
    rootfs: Path
    site: Path
    code: Path


@dataclass(frozen=True)
class State:
    """One artifact as `lab setup --status` shows it. `built` is empty if it is missing."""

    kind: str
    title: str
    key: str
    folder: Path
    built: str
    seconds: float
    facts: dict[str, str]


def ensure(
    progress: Reporter | None = None, cache: Cache | None = None, anew: Collection[str] = ()
) -> Artifacts:
    """Build what is missing and say where everything is. Takes no time if nothing is.

    The kernel is built beside the rest. The first failure stops the others.

    Args:
        progress: is told what happens; nobody if not given.
        cache: where; the user's own cache folder if not given.
        anew: kinds that are built even if they are there.
    Raises:
        BuildError: an artifact could not be built; whole ones stay, the others leave no trace.
        KeyboardInterrupt: passed on once all programs are ended and all half-made folders removed.
    """
    reporter = progress or Silent()
    place = cache or Cache(default_root())
    stop = Stop()
    place.check_space(_recipes(), anew)

    def obtain(recipe: Recipe) -> Path:
        return place.obtain(recipe, reporter, stop, anew=recipe.kind in anew)

    def for_guests() -> tuple[Path, Path, Path]:
        root = obtain(rootfs.recipe())
        copy = obtain(code.recipe(root))
        code.prune(place, copy)
        return root, obtain(site.recipe(root)), copy

    built, (root, packages, copy) = run_together(
        [partial(obtain, kernel.recipe()), for_guests], stop, reporter
    )
    return Artifacts(kernel=built, rootfs=root, site=packages, code=copy)


def status(cache: Cache | None = None) -> list[State]:
    """What is there and what is missing; reads the cache folder alone."""
    place = cache or Cache(default_root())
    states = []
    for recipe in (*_recipes(), *kubernetes.recipes()):
        record = place.record(recipe) or {}
        states.append(
            State(
                kind=recipe.kind,
                title=recipe.title,
                key=recipe.key,
                folder=place.folder(recipe),
                built=record.get("built", ""),
                seconds=record.get("seconds", 0.0),
                facts=record.get("facts", {}),
            )
        )
    return states


def clean(*, everything: bool = False, cache: Cache | None = None) -> list[Path]:
    """Remove what this version of the project would not use, or everything; says what went."""
    place = cache or Cache(default_root())
    if everything:
        return place.remove_all()
    return place.remove_others([*_recipes(), *kubernetes.recipes()])


def _recipes() -> list[Recipe]:
    """A lab's recipes, for asking what is there; the last two have no root file system to use."""
    nowhere = Path()
    return [kernel.recipe(), rootfs.recipe(), site.recipe(nowhere), code.recipe(nowhere)]
