"""A person's wish for a roll-over, as an annotation of the ClusterIPsec. Pure.

    geneveil.io/rotate: 2026-01-31T12:00:00Z [wave]

The time tells one wish from another and is compared with no clock: a person's may be anything. The
ledger keeps the last wish that was heard, written with the roll-over that it asked for, so that a
leader that is killed in between neither forgets it nor obeys it twice.
"""

from dataclasses import dataclass

from geneveil.kube.csr_wire import parse_time
from geneveil.kube.port import Document

ROTATE = "geneveil.io/rotate"
_MOST_CHARS = 100


@dataclass(frozen=True)
class RotationWish:
    """What was wished.

    Attributes:
        text: the annotation, by which it is known again.
        wave: over how long nodes shall renew; empty for what is set.
    """

    text: str
    wave: str


def find_request(switch: Document, heard: str) -> RotationWish | None:
    """The wish that was not heard before; None for none, or one that can't be read.

    Args:
        heard: the text of the last one that was.
    """
    text = str((switch["metadata"].get("annotations") or {}).get(ROTATE, ""))
    if not text or text == heard or len(text) > _MOST_CHARS:
        return None
    moment, _, wave = text.partition(" ")
    try:
        parse_time(moment)
    except ValueError:
        return None
    return RotationWish(text, wave.strip())
