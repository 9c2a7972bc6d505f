"""When a node's certificate is to be renewed.

Rule: once the cluster's renewal span (54 months) has passed since the certificate began, plus a
jitter of at most 14 days, so that nodes that enrolled together do not renew together. The jitter
comes from the node's name: drawn anew at every look it could postpone the renewal for ever.

The jitter never takes more than half of the time that is left after the renewal span, which
matters for short lifetimes only. A certificate that its authority's end cut short, so that the
renewal span would end after it, is due once nine tenths of its life have passed.
"""

import hashlib
from datetime import datetime, timedelta

from geneveil.model.cluster import CalendarSpan
from geneveil.pki.spans import add_span

MAX_JITTER = timedelta(days=14)


def plan_renewal(
    not_before: datetime, not_after: datetime, renew_after: CalendarSpan, chassis: str
) -> datetime:
    """Decide when this node renews this certificate; the same answer every time.

    Returns:
        A time before `not_after`, in whole seconds.
    """
    point = add_span(not_before, renew_after)
    if point >= not_after:
        point = not_before + (not_after - not_before) * 9 / 10
    spread = min(MAX_JITTER, (not_after - point) / 2)
    return (point + spread * _fraction(chassis)).replace(microsecond=0)


def _fraction(chassis: str) -> float:
    digest = hashlib.sha256(b"geneveil renewal " + chassis.encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48
