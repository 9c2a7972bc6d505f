"""When the node's status is written to the API. Pure.

News at once; mere counting seldom; a sign of life slowly, and not by all nodes together: what
nodes write grows with what happens, not with time.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

NEWS_SECONDS = 2.0
"""Between two writings that tell of something: a storm of changes makes a few writings."""

COUNTING_SECONDS = 60.0
HEARTBEAT_SECONDS = 300.0
HEARTBEAT_JITTER = 0.2
_COUNTERS = frozenset({"cleartextOut", "cleartextIn"})
# The summary repeats numbers of the status; a condition's message alone is not news.
_SECONDARY = frozenset({"conditions"})


def is_due(
    fields: Mapping[str, Any],
    written: Mapping[str, Any] | None,
    age_seconds: float,
    heartbeat: float,
) -> bool:
    """Decide whether to write now.

    Args:
        fields: what is true now; see `geneveil.agent.kube.node_ipsec.status_fields`.
        written: what was written last; None for nothing.
        age_seconds: since the last attempt that succeeded.
        heartbeat: see `heartbeat_seconds`.
    """
    if written is None or age_seconds >= heartbeat:
        return True
    if _news(fields) != _news(written):
        return age_seconds >= NEWS_SECONDS
    return fields != written and age_seconds >= COUNTING_SECONDS


def heartbeat_seconds(node: str) -> float:
    """How long this node stays silent at most: 4 to 6 minutes, the same every time."""
    digest = hashlib.sha256(f"geneveil heartbeat {node}".encode()).digest()
    fraction = int.from_bytes(digest[:6]) / 2**48
    return HEARTBEAT_SECONDS * (1 + HEARTBEAT_JITTER * (2 * fraction - 1))


def _news(fields: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: v for name, v in fields.items() if name not in _COUNTERS | _SECONDARY}
    # type, status and reason of each condition
    kept["conditions"] = [condition[:3] for condition in fields["conditions"]]
    return kept
