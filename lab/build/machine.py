"""What this machine is and allows. `read_machine` looks; `judge_machine` decides, and is pure."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.build.errors import MIB, HostError

_LEAST_MEMORY_MIB = 2048
_LEAST_SUBORDINATE_IDS = 65536


@dataclass(frozen=True)
class Machine:
    """What was found.

    Args:
        architecture: as `uname -m` names it.
        user: who runs the lab.
        is_root: with root's user id.
        namespaces_refused: why namespaces can't be made, in the kernel's words; empty if they can.
        subordinate_ids: how many user and group ids an ordinary user may use besides its own: the
            smaller of the two.
        tun_refused: why /dev/net/tun can't be opened; empty if it can.
        memory_mib: memory that is available now.
        cpus: processors that this process may use.
    """

    architecture: str
    user: str
    is_root: bool
    namespaces_refused: str
    subordinate_ids: int
    tun_refused: str
    memory_mib: int
    cpus: int


def read_machine() -> Machine:
    """Look at this machine; changes nothing."""
    is_root = os.geteuid() == 0
    user = _user_name()
    return Machine(
        architecture=os.uname().machine,
        user=user,
        is_root=is_root,
        namespaces_refused=_try_namespaces(is_root),
        subordinate_ids=_LEAST_SUBORDINATE_IDS if is_root else _subordinate_ids(user),
        tun_refused=_try_tun(),
        memory_mib=_memory_mib(),
        cpus=len(os.sched_getaffinity(0)),
    )


def judge_machine(machine: Machine) -> list[HostError]:
    """All that stands between this machine and building the lab; empty if nothing does."""
    problems = []
    if machine.architecture != "x86_64":
        problems.append(
            HostError(
                f"the lab runs on x86_64 machines, and this one is {machine.architecture}",
                why="User-Mode Linux exists for x86 alone",
            )
        )
    if machine.namespaces_refused:
        problems.append(_no_namespaces(machine))
    if machine.subordinate_ids < _LEAST_SUBORDINATE_IDS:
        problems.append(
            HostError(
                f"the user {machine.user} has too few subordinate ids",
                why=f"installing packages into a folder needs {_LEAST_SUBORDINATE_IDS} of them, "
                f"and /etc/subuid and /etc/subgid give {machine.subordinate_ids}",
                remedy=f"as root: usermod --add-subuids 100000-165535 "
                f"--add-subgids 100000-165535 {machine.user}",
            )
        )
    if machine.memory_mib < _LEAST_MEMORY_MIB:
        problems.append(
            HostError(
                "too little memory",
                why=f"{machine.memory_mib} MiB are available and the smallest lab needs "
                f"{_LEAST_MEMORY_MIB} MiB",
            )
        )
    return problems


def _no_namespaces(machine: Machine) -> HostError:
    if machine.is_root:
        return HostError(
            "root may not make namespaces here",
            why=machine.namespaces_refused,
            remedy="in a container, run it privileged",
        )
    return HostError(
        "neither root nor allowed user namespaces",
        why=machine.namespaces_refused,
        remedy="run as root; or allow them, as root: "
        "sysctl kernel.unprivileged_userns_clone=1 (older Debian), "
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), "
        "sysctl user.max_user_namespaces=15000 (others)",
    )


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _try_namespaces(is_root: bool) -> str:
    """Make namespaces and mount in them: some systems allow the first and forbid the second."""
    user = [] if is_root else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--mount", "--net", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "no program unshare (package util-linux)"
    if ended.returncode == 0:
        return ""
    return ended.stderr.strip().splitlines()[-1] if ended.stderr.strip() else "refused"


def _subordinate_ids(user: str) -> int:
    """Source: subuid(5): name-or-id:first:count."""
    counts = []
    for path in (Path("/etc/subuid"), Path("/etc/subgid")):
        count = 0
        lines = path.read_text().splitlines() if path.is_file() else []
        for line in lines:
            owner, _, rest = line.partition(":")
            size = rest.rpartition(":")[2]
            if owner in (user, str(os.geteuid())) and size.isdigit():
                count += int(size)
        counts.append(count)
    return min(counts)


def _try_tun() -> str:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _memory_mib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 // MIB
    raise HostError("can't tell how much memory is free", why="/proc/meminfo has no MemAvailable")
