"""Puts a program into namespaces of its own, so that killing it kills all that it started.

Three needs:
- PLAIN: only a process namespace; files stay the caller's.
- ROOT: root over the caller's own files; mounts that vanish with the program. A real root is that
  already; an ordinary user becomes it in a user namespace.
- PACKAGES: as ROOT, and with other users to change a file's owner to, as packages do. An ordinary
  user needs a range of subordinate ids (/etc/subuid, /etc/subgid) for it.

Source: unshare(1), setpriv(1), user_namespaces(7).
"""

import os
from collections.abc import Sequence
from enum import Enum

# Whoever starts a program may be killed outright; then the kernel ends the program.
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
_PROCESSES = ("--pid", "--fork", "--kill-child=SIGKILL")
_MOUNTS = ("--mount", "--mount-proc")


class Contain(Enum):
    """How much a program is given; see this module's text."""

    PLAIN = "plain"
    ROOT = "root"
    PACKAGES = "packages"


_USER = {
    Contain.PLAIN: ("--user", "--map-current-user"),
    Contain.ROOT: ("--user", "--map-root-user"),
    Contain.PACKAGES: ("--user", "--map-root-user", "--map-auto"),
}


def search_path() -> str:
    """Where programs are looked for. An ordinary user's PATH lacks the system's own folders."""
    return os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


def contained(argv: Sequence[str], need: Contain, *, is_root: bool) -> list[str]:
    """The command line that runs `argv` with what it needs and no more."""
    user = () if is_root else _USER[need]
    mounts = () if need is Contain.PLAIN else _MOUNTS
    return [*_ENDS_WITH_US, "unshare", *user, *_PROCESSES, *mounts, "--", *argv]
