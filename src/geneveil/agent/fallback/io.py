"""Reads the state directory where it stands by default, and sets the guard from what is there.

Imports little: it runs at boot, and when something is already wrong.
"""

from collections.abc import Callable

from geneveil.agent.boot_guard import plan_fallback_guard
from geneveil.agent.config import AgentConfig
from geneveil.agent.store import SETTINGS, NodeStore
from geneveil.guard.io import NftGuard
from geneveil.model.errors import GeneveilError


def guard_without_config(say: Callable[[str], None]) -> bool:
    """Set the guard if this node was ever sealed, or may have been; say what came of it.

    A mistyped field must not open a node that encrypts. The caller reports the mistake itself.

    Returns:
        False if a guard is needed here and could not be set.
    Fails closed: yes. Raises nothing that geneveil raises on purpose: the caller's error comes
    first, and what went wrong here is said as well.
    """
    store = NodeStore(AgentConfig().state_dir)
    if store.is_decommissioned():
        return True
    try:
        plan = plan_fallback_guard(store.read_seal(), *store.try_read(SETTINGS))
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
    say(f"this node encrypts: the guard {word} for UDP port {ports}, in spite of what follows")
    return True
