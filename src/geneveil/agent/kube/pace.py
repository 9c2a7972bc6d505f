"""When the node's status and confirmation are written, and how long a decision is waited for. Pure.

News of the node itself at once; of its peers the later the more of them there are; mere counting
seldom; a sign of life slowly, and not by all nodes together.

One node that comes or goes is news of a peer for all others. Were each of them to tell at once,
what a cluster writes while its nodes come up, or are restarted one by one, would grow with the
square of their number.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from geneveil.enroll.port import WatchState

NEWS_SECONDS = 2.0
"""Between two writings that tell of something: a storm of changes makes a few writings."""

PEER_NEWS_A_SECOND = 10
"""About so many writings of news of peers make all nodes of a cluster together: measured with 50,
they kept an API server on two busy cores from anything else."""

DECISION_SECONDS = 60.0
_MOST_DOUBLINGS = 4

CONFIRMATION_SECONDS = 60.0
"""Within so long a node says which generation and lists it has, not before half of it: a generation
that is followed by others is said once, and all nodes do not say it together."""

COUNTING_SECONDS = 60.0
HEARTBEAT_SECONDS = 300.0
HEARTBEAT_JITTER = 0.2
_COUNTERS = frozenset({"cleartextOut", "cleartextIn"})
# The summary repeats numbers of the status; a condition's message alone is not news.
_SECONDARY = frozenset({"conditions"})
_OF_PEERS = frozenset({"peersTotal", "peersUp"})


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
    if _own_news(fields) != _own_news(written):
        return age_seconds >= NEWS_SECONDS
    if _news(fields) != _news(written):
        return age_seconds >= peer_news_seconds(int(fields.get("peersTotal", 0)))
    return fields != written and age_seconds >= COUNTING_SECONDS


def decision_seconds(undecided: int) -> float:
    """How long to wait for the operator to decide about a request, before it is asked for again.

    The decision is heard as soon as it is there, however long this is. The first end is soon, for
    people, who then read that the operator is silent; the next ones are later and later, because
    thousands of nodes that ask again while they wait make all of them wait the longer.

    Args:
        undecided: how many waits ended so before.
    """
    return DECISION_SECONDS * 2.0 ** min(undecided, _MOST_DOUBLINGS)


def confirmation_wait_seconds(
    node: str, state: WatchState, confirmed: WatchState | None, age_seconds: float
) -> float:
    """How long to wait before the node's confirmation is written; 0 for now, or if there is nothing
    to write.

    Whom it trusts and which certificates it uses is what a roll-over waits for: at once. Generation
    and lists show whether the operator's memory is an older one, and after every failure are said
    at once as well: the caller forgets what was confirmed.

    Args:
        confirmed: what was written last; None for nothing.
        age_seconds: since the node has had something else than that.
    """
    if confirmed is None or state == confirmed:
        return 0.0
    if replace(confirmed, generation=state.generation, crls=state.crls) != state:
        return 0.0
    due = CONFIRMATION_SECONDS * (1 + _fraction(f"geneveil confirmation {node}")) / 2
    return max(0.0, due - age_seconds)


def heartbeat_seconds(node: str) -> float:
    """How long this node stays silent at most: 4 to 6 minutes, the same every time."""
    fraction = _fraction(f"geneveil heartbeat {node}")
    return HEARTBEAT_SECONDS * (1 + HEARTBEAT_JITTER * (2 * fraction - 1))


def peer_news_seconds(peers: int) -> float:
    """Between two writings of a node that tell of nothing but its peers."""
    return max(NEWS_SECONDS, peers / PEER_NEWS_A_SECOND)


def _fraction(seed: str) -> float:
    """0 to 1, the same for a seed every time."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:6]) / 2**48


def _news(fields: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: v for name, v in fields.items() if name not in _COUNTERS | _SECONDARY}
    # type, status and reason of each condition
    kept["conditions"] = [condition[:3] for condition in fields["conditions"]]
    return kept


def _own_news(fields: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: v for name, v in _news(fields).items() if name not in _OF_PEERS}
    # a node is ready when its every pair is; what else can be wrong has a condition of its own
    kept["conditions"] = [one for one in kept["conditions"] if one[0] != "Ready"]
    return kept
