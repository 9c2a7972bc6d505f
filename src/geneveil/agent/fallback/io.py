"""Reads the state directory where it seems to be, and sets the guard from what is there.

Imports little: it runs at boot, and when something is already wrong.
"""

from collections.abc import Callable
from pathlib import Path

from geneveil.agent.boot_guard import plan_fallback_guard
from geneveil.agent.config import plain_state_dir
from geneveil.agent.store import SETTINGS, NodeStore
from geneveil.guard.io import NftGuard
from geneveil.model.errors import GeneveilError


def guard_without_config(path: Path, say: Callable[[str], None]) -> bool:
    """Set the guard unless this node is plainly not to encrypt; say what came of it.

    A mistyped field must not open a node that encrypts. The caller reports the mistake itself.

    Returns:
        False if a guard is needed here and could not be set.
    Fails closed: yes. Raises nothing that geneveil raises on purpose: the caller's error comes
    first, and what went wrong here is said as well.
    """
    text = _read_text(path)
    store = NodeStore(plain_state_dir(text or ""))
    if store.is_decommissioned():
        return True
    try:
        plan = plan_fallback_guard(text, store.read_seal(), *store.try_read(SETTINGS))
        for finding in plan.findings:
            say(f"{finding.what} ({finding.remedy})")
        if plan.spec is None:
            return True
        spec, changed = NftGuard().cover(plan.spec)
    except GeneveilError as error:
        say(error.render())
        return False
    ports = ", ".join(str(port) for port in spec.ports)
    word = "now stands" if changed else "stood already"
    say(f"this node may have to encrypt: the guard {word} for UDP port {ports}")
    return True


def _read_text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError:
        return ""  # there is one: what it says, nobody knows
