"""What is alive of a lab, asked of the kernel and not of the lab.

Processes are known by a variable in their environment, which every program that the lab starts
inherits. A namespace lives as long as a process is in it, a descriptor is open on it or it is
mounted somewhere; and with the network namespace die its bridges and taps.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

MARK_VARIABLE = "GENEVEIL_TEST_LAB"
KINDS = {"net", "mnt", "pid", "ipc"}
DEADLINE_SECONDS = 240.0
_NAMESPACE = re.compile(r"\b(?:net|mnt|pid|ipc|user):\[\d+\]")


def wait_for(
    condition: Callable[[], bool], what: str, explain: Callable[[], str] = lambda: ""
) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}: {explain()}"
        time.sleep(0.02)


def marked(mark: str) -> list[int]:
    """Every process of this machine that a command with this mark has started, but for us."""
    wanted = f"{MARK_VARIABLE}={mark}".encode()
    found = []
    for entry in _processes():
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in variables and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def namespaces(process: Path) -> set[str]:
    """The namespaces that a process is in, or puts its children in."""
    return {
        link for path in _listed(process / "ns") if (link := _link(path)).split(":")[0] in KINDS
    }


def holders(wanted: set[str]) -> list[str]:
    """Who keeps one of these namespaces alive, and how."""
    found = []
    for process in _processes():
        held = {f"is in {name}" for name in namespaces(process) & wanted}
        held |= {
            f"has {link} open"
            for path in _listed(process / "fd")
            if (link := _link(path)) in wanted
        }
        try:
            mounts = (process / "mountinfo").read_text()
        except OSError:
            mounts = ""
        held |= {f"has {name} mounted" for name in set(_NAMESPACE.findall(mounts)) & wanted}
        found += [f"process {process.name} {how}" for how in sorted(held)]
    return found


class Watched:
    """A lab whose processes bear a mark: what was seen of it must all be gone in the end."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self.seen: set[str] = set()

    def look(self) -> list[int]:
        """The lab's processes; remembers their namespaces."""
        ours = namespaces(Path("/proc/self"))
        found = marked(self._mark)
        for number in found:
            self.seen |= namespaces(Path(f"/proc/{number}")) - ours
        return found

    def owners(self) -> set[int]:
        """Whose the lab's processes are."""
        return {Path(f"/proc/{number}").stat().st_uid for number in marked(self._mark)}

    def assert_nothing_left(self) -> None:
        wait_for(lambda: not self.look(), "the lab's processes to end")
        left = ["?"]

        def none_left() -> bool:
            left[:] = holders(self.seen)
            return not left

        wait_for(none_left, "the lab's namespaces to end", lambda: "; ".join(left))


def _processes() -> Iterator[Path]:
    return Path("/proc").glob("[0-9]*")


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
