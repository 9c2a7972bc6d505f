"""Requests that can't be decided yet: how many of a node wait, and when the log tells it. Pure.

A request waits while nobody said which chassis its Node is. A node asks once, and again with the
same bytes; so many wait only if somebody fills the API with them.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from geneveil.kube.csr_wire import SigningRequest

MOST_WAITING = 8
"""Of one node. Those after them are refused, and the node asks again when the first are decided."""

TOLD_AGAIN_SECONDS = 600.0


def count_earlier(requests: Iterable[SigningRequest]) -> Mapping[str, int]:
    """How many requests of the same node were made before each, that are not answered either.

    Returns:
        UID of a request -> number of those before it. A requester that is bound to no one node is
        not counted: it is refused as it is.
    """
    earlier: dict[str, int] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for one in sorted(requests, key=lambda request: (request.created_at, request.name)):
        if one.is_answered or len(one.node_names) != 1:
            continue
        node = (one.username, one.node_names[0])
        earlier[one.uid] = seen[node]
        seen[node] += 1
    return earlier


class WaitLog:
    """What the log was told of things that stay as they are: each once, and then rarely."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, float]] = {}

    def is_worth_telling(self, uid: str, why: str, at_seconds: float) -> bool:
        """It is for another reason than before, or was told long ago. Remembers that it was."""
        before = self._told.get(uid)
        if before and before[0] == why and at_seconds - before[1] < TOLD_AGAIN_SECONDS:
            return False
        self._told[uid] = (why, at_seconds)
        return True

    def keep_only(self, uids: Collection[str]) -> None:
        """The others are over."""
        for uid in [uid for uid in self._told if uid not in uids]:
            del self._told[uid]
