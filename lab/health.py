"""Whether a status document says that all is well. Pure."""

from datetime import datetime
from typing import Any

LINGERING = frozenset({"guard-missing", "guard-altered"})
"""Said for ten minutes after the guard was put back, so that somebody sees it."""


def is_well(status: dict[str, Any], apart_from: frozenset[str] = frozenset()) -> bool:
    """All is well, but for health codes that do not count."""
    troubles = {v["code"] for v in status.get("health", []) if v["severity"] != "info"}
    return bool(status.get("well")) or (bool(troubles) and troubles <= apart_from)


STALE_SECONDS = 30.0
"""Twice what geneveil itself allows an agent that lives: a guest of a busy machine stands still."""


def is_stale(status: dict[str, Any], now: datetime) -> bool:
    """Not of the present, by the clock of the node that it is of: too old, or of the future."""
    age = now - datetime.fromisoformat(str(status["writtenAt"]))
    return abs(age.total_seconds()) > STALE_SECONDS
