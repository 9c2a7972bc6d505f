"""Who leads, by a Lease. Pure.

Clocks of machines differ, so no time in the Lease is compared with a clock: a holder is given up
when its record has not changed for the lease's duration of one's own clock that nobody moves.

Source: coordination.k8s.io/v1 Lease.
"""

from collections.abc import Set
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any

from geneveil.kube.port import Document

LEASE_NAME = "geneveil-operator"
LEASE_SECONDS = 15
RENEW_SECONDS = 5.0
ACT_SECONDS = 10.0
"""So long after it began to renew a leader acts; the rest of the lease is for what is under way."""

RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class LeaseRecord:
    """A Lease.

    Attributes:
        holder: empty if it was given up.
        renewed: as it is written; only ever compared with itself.
    """

    holder: str
    renewed: str
    duration_seconds: int
    transitions: int
    version: str


@dataclass(frozen=True)
class Sighting:
    """The newest record, and when it was first seen, in seconds of one's own clock."""

    record: LeaseRecord | None
    since_seconds: float


class Step(Enum):
    """What to do about the Lease."""

    CREATE = "create"
    TAKE = "take"
    RENEW = "renew"
    STAND_BY = "stand by"


def see(last: Sighting | None, record: LeaseRecord | None, at_seconds: float) -> Sighting:
    """Remember since when the record is as it is."""
    if last is not None and last.record == record:
        return last
    return Sighting(record, at_seconds)


def decide_step(sighting: Sighting, identity: str, at_seconds: float) -> Step:
    """Decide what to do."""
    record = sighting.record
    if record is None:
        return Step.CREATE
    if record.holder == identity:
        return Step.RENEW
    if not record.holder:
        return Step.TAKE
    is_over = at_seconds - sighting.since_seconds > record.duration_seconds
    return Step.TAKE if is_over else Step.STAND_BY


def is_rewound(record: LeaseRecord | None, written: Set[str]) -> bool:
    """Whether the API remembers an older Lease than this process wrote: etcd was restored.

    A leader that goes on with what it remembers itself would never hear of it, and what it wrote
    since that copy would be in its memory alone.

    Args:
        written: each `renewed` that the Lease may have by what this process wrote, or tried to,
            while it leads; empty while it does not.
    """
    return bool(written) and (record is None or record.renewed not in written)


def read_lease(document: Document) -> LeaseRecord:
    """Read a Lease; what it leaves open counts as given up."""
    spec = document.get("spec") or {}
    duration = spec.get("leaseDurationSeconds")
    return LeaseRecord(
        holder=str(spec.get("holderIdentity") or ""),
        renewed=str(spec.get("renewTime") or ""),
        duration_seconds=duration if type(duration) is int and duration > 0 else LEASE_SECONDS,
        transitions=int(spec.get("leaseTransitions") or 0),
        version=str(document["metadata"]["resourceVersion"]),
    )


def lease_document(
    before: LeaseRecord | None, identity: str, namespace: str, now: datetime
) -> Document:
    """The Lease with `identity` as its holder; empty gives it up."""
    record = before or LeaseRecord("", "", LEASE_SECONDS, 0, "")
    changes = identity and record.holder != identity
    record = replace(record, transitions=record.transitions + 1) if changes else record
    metadata: dict[str, Any] = {"name": LEASE_NAME, "namespace": namespace}
    if before is not None:
        metadata["resourceVersion"] = before.version
    return {
        "metadata": metadata,
        "spec": {
            "holderIdentity": identity,
            "leaseDurationSeconds": LEASE_SECONDS if identity else 1,
            "renewTime": f"{now:%Y-%m-%dT%H:%M:%S.%f}Z",
            "leaseTransitions": record.transitions,
        },
    }
