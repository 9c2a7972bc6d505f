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
from geneveil.pki.authority import CLOCK_SKEW
from geneveil.pki.spans import add_span

MAX_JITTER = timedelta(days=14)


def plan_renewal(
    not_before: datetime, not_after: datetime, renew_after: CalendarSpan, chassis: str
) -> datetime:
    """Decide when this node renews this certificate; the same answer every time.

    Returns:
        A time before `not_after`, in whole seconds.
    """
    point = _renewal_point(not_before, not_after, renew_after)
    spread = min(MAX_JITTER, (not_after - point) / 2)
    return (point + spread * renewal_fraction(chassis)).replace(microsecond=0)


def open_renewal(not_before: datetime, not_after: datetime, renew_after: CalendarSpan) -> datetime:
    """From when on the operator grants a renewal: the renewal point before any jitter, and a
    little earlier, because clocks differ.
    """
    return _renewal_point(not_before, not_after, renew_after) - CLOCK_SKEW


def _renewal_point(
    not_before: datetime, not_after: datetime, renew_after: CalendarSpan
) -> datetime:
    point = add_span(not_before, renew_after)
    return point if point < not_after else not_before + (not_after - not_before) * 9 / 10


def renewal_fraction(chassis: str) -> float:
    """Where in a spread of renewals this node stands: 0 to 1, the same every time."""
    digest = hashlib.sha256(b"geneveil renewal " + chassis.encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48
