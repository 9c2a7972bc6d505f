"""What the host needs, found by trying; root gets it installed, others are told how.

`NEEDS` says what for; `plan_installation` decides and is pure; the rest looks and does.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.build.contain import search_path
from lab.build.errors import HostError

_SHOWN_LINES = 12


@dataclass(frozen=True)
class Need:
    """One thing that the lab needs.

    Args:
        what: the program, or for a file its path (it then has a slash).
        package: Debian's package that has it.
        why: what it is for, in words that finish "needed to …".
    """

    what: str
    package: str
    why: str


NEEDS = (
    Need("mmdebstrap", "mmdebstrap", "make the guests' root file system"),
    Need("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring",
         "check what comes from Debian's archive"),
    Need("gcc", "gcc", "compile the guests' kernel"),
    Need("/usr/include/stdio.h", "libc6-dev", "compile the guests' kernel"),
    Need("ld", "binutils", "compile the guests' kernel"),
    Need("make", "make", "compile the guests' kernel"),
    Need("patch", "patch", "compile the guests' kernel"),
    Need("flex", "flex", "compile the guests' kernel"),
    Need("bison", "bison", "compile the guests' kernel"),
    Need("bc", "bc", "compile the guests' kernel"),
    Need("xz", "xz-utils", "unpack the kernel's source"),
    Need("unshare", "util-linux", "keep the lab apart from the machine"),
    Need("setpriv", "util-linux", "keep the lab apart from the machine"),
    Need("newuidmap", "uidmap", "run a lab, and make its root file system, without being root"),
    Need("ip", "iproute2", "make the wires between the guests"),
    Need("tcpdump", "tcpdump", "watch the wire from outside the guests"),
    Need("ssh", "openssh-client", "open a shell in a guest"),
    Need("openssl", "openssl", "test our certificates against another implementation"),
)  # fmt: skip
# Only where the API server is built.
GO_NEED = Need("go", "golang-go", "build Kubernetes' API server for the tests")


@dataclass(frozen=True)
class Installation:
    """What to do about what is missing: commands for root, and a reason for each package."""

    reasons: dict[str, str]

    @property
    def packages(self) -> list[str]:
        return sorted(self.reasons)

    @property
    def command(self) -> list[str]:
        return ["apt-get", "install", "--yes", "--no-install-recommends", *self.packages]


def plan_installation(missing: Iterable[Need]) -> Installation:
    """Which packages bring what is missing."""
    reasons: dict[str, list[str]] = {}
    for need in missing:
        reasons.setdefault(need.package, [])
        if need.why not in reasons[need.package]:
            reasons[need.package].append(need.why)
    return Installation({package: ", ".join(why) for package, why in reasons.items()})


def missing_needs(needs: Iterable[Need] = NEEDS) -> list[Need]:
    """What this machine has not; only looks."""
    path = search_path()

    def there(what: str) -> bool:
        return Path(what).exists() if "/" in what else shutil.which(what, path=path) is not None

    return [need for need in needs if not there(need.what)]


def provide(say: Callable[[str], None], needs: Sequence[Need] = NEEDS) -> None:
    """See to it that the machine has what the lab needs; silent if it has.

    Raises:
        HostError: something is missing and this user or system can't install it; or apt failed.
    """
    is_root = os.geteuid() == 0
    missing = missing_needs(needs)
    if not missing:
        return
    names = ", ".join(need.what for need in missing)
    if not shutil.which("apt-get"):
        raise HostError(
            f"this machine has no {names}", remedy="install what has it, with your system's tools"
        )
    plan = plan_installation(missing)
    if not is_root:
        raise HostError(
            f"this machine has no {names}",
            remedy=f"run: sudo apt-get update && sudo {' '.join(plan.command)}",
        )
    say("installing, with apt-get, what this machine has not:")
    for package in plan.packages:
        say(f"  {package}, to {plan.reasons[package]}")
    _apt(["apt-get", "update"])
    _apt(plan.command)
    still = missing_needs(needs)
    if still:
        names = ", ".join(need.what for need in still)
        raise HostError(f"apt-get installed {', '.join(plan.packages)}, yet there is no {names}")


def _apt(command: list[str]) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    ended = subprocess.run(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if ended.returncode != 0:
        lines = "".join(f"\n    {line}" for line in ended.stdout.splitlines()[-_SHOWN_LINES:])
        raise HostError(f"{' '.join(command[:2])} failed", why=f"it said:{lines}")
