"""Whether a status document says that all is well. Pure."""

from typing import Any

LINGERING = frozenset({"guard-missing", "guard-altered"})
"""Said for ten minutes after the guard was put back, so that somebody sees it."""


def is_well(status: dict[str, Any], apart_from: frozenset[str] = frozenset()) -> bool:
    """All is well, but for health codes that do not count."""
    troubles = {v["code"] for v in status.get("health", []) if v["severity"] != "info"}
    return bool(status.get("well")) or (bool(troubles) and troubles <= apart_from)
