"""Which certificates of a chassis are needed no more. Pure.

A certificate is forgotten when nobody takes it any more, and no list has to name it: it ended long
ago, or its authority has left the trust. What is forgotten cannot be revoked again, so no clock
that may have leapt has a say: see `find_past`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from geneveil.operator.records import AuthorityRecord, CertificateRecord

FORGOTTEN_AFTER = timedelta(days=30)
"""A certificate that ended so long ago is no longer kept: no CRL and no answer needs it."""


@dataclass(frozen=True)
class Past:
    """What is over for certain.

    Attributes:
        ended_before: so do the certificates that are over; None while no clock is believed.
        retired: authorities that no node trusts any more.
    """

    ended_before: datetime | None
    retired: frozenset[int]


def find_past(
    believed_at: datetime | None, now: datetime, authorities: Iterable[AuthorityRecord]
) -> Past:
    """What is over.

    Args:
        believed_at: the latest moment of the operator's clock that was believed.
        now: of the API server's clock. Of two clocks the one that is behind counts: one that ran
            away takes nothing with it.
    """
    retired = frozenset(one.authority_id for one in authorities if one.retired_at is not None)
    if believed_at is None:
        return Past(None, retired)
    return Past(min(believed_at, now) - FORGOTTEN_AFTER, retired)


def find_forgotten(own: Sequence[CertificateRecord], past: Past) -> tuple[str, ...]:
    """Serials of a chassis' certificates that are needed no more.

    Args:
        own: all of them, in the order of issue. The newest outlives its authority here: it is what
            a node that is away, or shut out, goes on to say that it uses.
    """
    return tuple(
        one.serial
        for number, one in enumerate(own, 1)
        if _ended(one, past) or (one.authority_id in past.retired and number < len(own))
    )


def is_over(own: Iterable[CertificateRecord], past: Past) -> bool:
    """Nothing of a chassis counts any more: if its Node is gone, nothing need be kept of it."""
    return all(_ended(one, past) or one.authority_id in past.retired for one in own)


def _ended(one: CertificateRecord, past: Past) -> bool:
    return past.ended_before is not None and one.not_after < past.ended_before
