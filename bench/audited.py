"""Counts what an API server was asked, from its audit log. Pure, but for reading the file.

A watch has two lines, when it begins and when it ends; each request counts once.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OPERATOR = "system:serviceaccount:geneveil-system:geneveil-operator"
AGENTS = "system:serviceaccount:geneveil-system:geneveil-agent"
TOO_MANY = 429


@dataclass
class Asked:
    """What one kind of program asked for.

    Attributes:
        requests: (verb, resource with its subresource) -> how many; turned away ones too.
        turned_away: how many of them were answered with 429.
        failed: (verb, resource, status) of other answers that are no success.
        answers: CSR -> how often its certificate was written.
    """

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    turned_away: int = 0
    failed: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)

    def total(self, but: str = "leases") -> int:
        """All requests, leaving out a resource that is asked for by time and not by node."""
        return sum(count for (_, what), count in self.requests.items() if what != but)


def read_events(log: Path) -> Iterator[dict[str, Any]]:
    """Every line of an audit log and of the full ones that it followed.

    The last line may be half written, and is left out.
    """
    for path in (*sorted(log.parent.glob(f"{log.stem}-*.log")), log):
        with path.open() as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield json.loads(line)


def count_requests(events: Iterable[Mapping[str, Any]], since: str) -> dict[str, Asked]:
    """User -> what it asked for from a time on.

    Args:
        since: as the log writes times: RFC 3339 with microseconds, UTC.
    """
    found: dict[str, Asked] = {}
    seen: set[str] = set()
    for event in events:
        if event["requestReceivedTimestamp"] < since or event["auditID"] in seen:
            continue
        seen.add(event["auditID"])
        reference = event.get("objectRef") or {}
        parts = (reference.get("resource", "none"), reference.get("subresource"))
        what = "/".join(part for part in parts if part)
        asked = found.setdefault(str(event["user"].get("username", "")), Asked())
        asked.requests[event["verb"], what] += 1
        status = int((event.get("responseStatus") or {}).get("code", 0))
        if status == TOO_MANY:
            asked.turned_away += 1
        elif status >= 400:
            asked.failed[event["verb"], what, status] += 1
        elif what == "certificatesigningrequests/status" and event["verb"] == "update":
            asked.answers[str(reference.get("name"))] += 1
    return found
