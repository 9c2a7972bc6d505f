"""Runs a command as an ordinary user who exists for this command alone. Needs root.

    unshare --mount python ordinary_user.py HOME -- COMMAND…

In a mount namespace of its own: the user has an entry in /etc/passwd and 65,536 subordinate ids, no
/dev/net/tun, HOME as home and runtime folder, and can reach this project and its Python wherever
they are. Nothing of that is seen outside, and all of it ends with the command.
"""

import os
import subprocess
import sys
from pathlib import Path

USER, USER_ID = "geneveil-lab-test", 64123
_FIRST_SUBORDINATE_ID = 1_000_000_000
_PROJECT = Path(__file__).parents[2]


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def put_over(path: Path, line: str, scratch: Path) -> None:
    """Let a file of the system have one line more."""
    copy = scratch / path.name
    copy.write_text((path.read_text() if path.exists() else "") + line + "\n")
    copy.chmod(0o644)
    if path.exists():
        mount("--bind", copy, path)


def make_reachable(paths: list[Path], scratch: Path) -> None:
    """Lead to these paths through folders that everybody may pass."""
    kept = []
    for number, path in enumerate(paths):
        stash = scratch / f"kept{number}"
        stash.mkdir()
        mount("--bind", path, stash)
        kept.append((stash, path))
    for path in paths:
        for ancestor in reversed(path.parents):
            if ancestor.exists() and not ancestor.stat().st_mode & 0o001:
                mount("-t", "tmpfs", "-o", "mode=755", "none", ancestor)
                break
    for stash, path in kept:
        path.mkdir(parents=True, exist_ok=True)
        mount("--bind", stash, path)


def main() -> None:
    home, command = Path(sys.argv[1]), sys.argv[3:]
    scratch = Path("/run")
    mount("-t", "tmpfs", "-o", "mode=755", "none", scratch)
    put_over(Path("/etc/passwd"), f"{USER}:x:{USER_ID}:{USER_ID}::{home}:/bin/sh", scratch)
    for name in ("/etc/subuid", "/etc/subgid"):
        put_over(Path(name), f"{USER}:{_FIRST_SUBORDINATE_ID}:65536", scratch)
    make_reachable([Path(sys.base_prefix), _PROJECT, home], scratch)
    if Path("/dev/net").is_dir():
        mount("-t", "tmpfs", "none", "/dev/net")
    os.chdir(_PROJECT)
    os.setgroups([])
    os.setgid(USER_ID)
    os.setuid(USER_ID)
    passed_on = ("GENEVEIL_TEST_LAB", "GENEVEIL_PATIENCE")
    environment = {name: os.environ[name] for name in passed_on if name in os.environ} | {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "LANG": "C.UTF-8",
    }
    os.execvpe(command[0], command, environment)  # noqa: S606  no shell is meant


if __name__ == "__main__":
    main()
