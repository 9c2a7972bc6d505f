"""Looks a process up in /proc. Anybody may ask: no privilege and no lock is needed.

Source: proc_pid_stat(5); the kernel gives a process id to another process only after its end, and
the two then differ in when they started.
"""

import os
from pathlib import Path

_START_FIELD = 19
"""Field 22, starttime, counted from behind the name in parentheses, which may hold anything."""


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if nobody can tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[_START_FIELD])
    except (OSError, ValueError, IndexError):
        return 0


def runs(pid: int, started_ticks: int) -> bool:
    """Whether that very process runs.

    Args:
        started_ticks: as `start_ticks` gave it then; 0 if it was not known.
    Where /proc hides other users' processes, any process of that id counts: a status that is not
    written any more is old soon enough.
    """
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it is there, and not ours to signal
    now_ticks = start_ticks(pid)
    return not started_ticks or not now_ticks or started_ticks == now_ticks
