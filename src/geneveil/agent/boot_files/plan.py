"""What the host's boot needs in order to set the guard, as files. Pure.

Two sets of the same two files, which stand side by side: one that the guard's container writes, and
one that a MachineConfig of OKD brings, for the boot before the first container. Whoever owns a file
may say what is in it, and the Machine Config Operator takes a file of its own that somebody else
changed for damage; so they have names of their own.

Source: systemd.unit(5); ignition's configuration specification, 3.2.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath

from geneveil.guard.script import render_guard_script
from geneveil.model.guard import GuardSpec


class Owner(Enum):
    """Who puts the files on the host; the value names them."""

    AGENT = "boot"
    MACHINE_CONFIG = "machine"


UNITS = PurePosixPath("etc/systemd/system")
SCRIPTS = PurePosixPath("etc/geneveil")


@dataclass(frozen=True)
class BootPaths:
    """Where the files are, below the host's root.

    Attributes:
        link: by which the boot starts the unit.
    """

    link: PurePosixPath
    unit: PurePosixPath
    script: PurePosixPath

    @property
    def all(self) -> tuple[PurePosixPath, ...]:
        """The link first, for whoever takes them away."""
        return (self.link, self.unit, self.script)

    @property
    def link_target(self) -> str:
        return f"../{self.unit.name}"


@dataclass(frozen=True)
class BootFiles:
    """The unit and its script, and their places."""

    paths: BootPaths
    unit: str
    script: str


def boot_paths(owner: Owner) -> BootPaths:
    """Where the files of an owner are."""
    name = f"geneveil-{owner.value}-guard.service"
    return BootPaths(
        link=UNITS / "multi-user.target.wants" / name,
        unit=UNITS / name,
        script=SCRIPTS / f"{owner.value}-guard.nft",
    )


def render_boot_files(spec: GuardSpec, unit: str, owner: Owner) -> BootFiles:
    """The files for a guard.

    Args:
        unit: deploy/systemd/geneveil-boot-guard.service.
    """
    paths = boot_paths(owner)
    if owner is Owner.MACHINE_CONFIG:
        # it does not come after itself
        kept = [line for line in unit.splitlines(keepends=True) if paths.unit.name not in line]
        unit = "".join(kept).replace("/boot-guard.nft", f"/{paths.script.name}")
    return BootFiles(paths, unit, render_guard_script(spec))
