"""A person's wish for a roll-over, as an annotation of the ClusterIPsec. Pure.

    geneveil.io/rotate: 2026-01-31T12:00:00Z [wave]

The leader obeys a wish that is newer than the phase that the roll-over is in; once it has begun,
the phase is newer than the wish. So nothing has to be written back, and a leader that is killed
in between neither forgets it nor does it twice.
"""

from dataclasses import dataclass
from datetime import datetime

from geneveil.kube.csr_wire import parse_time
from geneveil.kube.port import Document
from geneveil.operator.records import TrustRecord
from geneveil.pki.rollover import Phase

ROTATE = "geneveil.io/rotate"


@dataclass(frozen=True)
class RotationWish:
    """When it was wished, and over how long nodes shall renew; empty for what is set."""

    at: datetime
    wave: str


def find_request(switch: Document, trust: TrustRecord) -> RotationWish | None:
    """The wish that is to be obeyed now; None for one that was, or that can't be read."""
    text = (switch["metadata"].get("annotations") or {}).get(ROTATE, "")
    moment, _, wave = str(text).partition(" ")
    if trust.phase is not Phase.STEADY or trust.requested_at is not None or not moment:
        return None
    try:
        wish = RotationWish(parse_time(moment), wave.strip())
    except ValueError:
        return None
    return wish if wish.at > trust.phase_since else None
