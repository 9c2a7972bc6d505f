"""Puts the boot files on the host, and takes them away."""

import os
from importlib import resources
from pathlib import Path

from geneveil.agent.boot_files.plan import BootFiles, Owner, boot_paths, render_boot_files
from geneveil.agent.store import write_atomically
from geneveil.model.errors import ConfigError
from geneveil.model.guard import GuardSpec
from geneveil.model.shortage import remedy_for

_FILE_MODE = 0o644
_OURS = boot_paths(Owner.AGENT)


def boot_files(spec: GuardSpec, owner: Owner) -> BootFiles:
    """The files for a guard, with the shipped unit."""
    unit = resources.files(__package__).joinpath("geneveil-boot-guard.service").read_text()
    return render_boot_files(spec, unit, owner)


def are_installed(root: Path) -> bool:
    """Whether the host sets a guard at boot, as far as we put it there."""
    return all(os.path.lexists(root / path) for path in _OURS.all)


def install_boot_files(spec: GuardSpec, root: Path) -> None:
    """Have the host set this guard at its next boot. What is there already is replaced whole.

    The script comes first and the link that starts it last, so that a power cut leaves no unit
    that fails.

    Args:
        root: where the host's /etc is seen.
    Raises:
        ConfigError: it cannot be written; what was there still is.
    """
    files = boot_files(spec, Owner.AGENT)
    link = root / _OURS.link
    try:
        for path, text in ((_OURS.script, files.script), (_OURS.unit, files.unit)):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(root / path, text.encode(), _FILE_MODE)
        link.parent.mkdir(exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(_OURS.link_target)
    except OSError as error:
        raise ConfigError(
            f"the host's boot guard cannot be written below {root}",
            why=error.strerror or str(error),
            remedy=remedy_for(error, "on a host whose /etc cannot be written, do without"),
        ) from None


def remove_boot_files(root: Path) -> list[str]:
    """Have the host set no guard at boot any more; says what was there.

    Raises:
        OSError: something is left.
    """
    there = [path for path in _OURS.all if os.path.lexists(root / path)]
    for path in there:
        (root / path).unlink()
    return [f"/{path}" for path in there]
