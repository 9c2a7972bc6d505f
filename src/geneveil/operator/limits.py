"""How much the operator takes from whom: token buckets. Pure; the time is an argument.

A cluster of a thousand nodes may reach the operator from one address (behind a NAT, or a burst in
one rack), so the bucket of an address is generous to requests that are right; one that is refused
costs as much as twenty, which leaves somebody who guesses ten tries a second.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

ADDRESS_BURST, ADDRESS_PER_SECOND = 2000.0, 200.0
ALL_BURST, ALL_PER_SECOND = 8000.0, 1000.0
REFUSAL_COST = 20.0
MOST_ADDRESSES = 10_000
"""Remembered at once; the one that was heard least lately is forgotten first."""


@dataclass
class Bucket:
    """Fills at a rate up to a size.

    Attributes:
        size: in requests.
        per_second: how fast it fills.
    """

    size: float
    per_second: float
    _level: float = field(init=False)
    _at: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._level = self.size

    def take(self, now_seconds: float, cost: float = 1.0) -> float:
        """Take a request's cost.

        Args:
            now_seconds: of any clock; if that goes back, nothing is filled in.
        Returns:
            0 if there was enough; else nothing is taken, and this is in how many seconds there
            will be.
        """
        self._fill(now_seconds)
        if self._level >= cost:
            self._level -= cost
            return 0.0
        return (cost - self._level) / self.per_second

    def charge(self, now_seconds: float, cost: float) -> None:
        """Take a cost that is known only afterwards; the level may go below zero, once."""
        self._fill(now_seconds)
        self._level = max(self._level - cost, -self.size)

    def _fill(self, now_seconds: float) -> None:
        if self._at is not None and now_seconds > self._at:
            gained = (now_seconds - self._at) * self.per_second
            self._level = min(self.size, self._level + gained)
        self._at = now_seconds


class Gate:
    """Who may ask now: one bucket for all, one for each address."""

    def __init__(self) -> None:
        self._all = Bucket(ALL_BURST, ALL_PER_SECOND)
        self._addresses: OrderedDict[str, Bucket] = OrderedDict()

    def admit(self, address: str, now_seconds: float) -> float:
        """0 if this request may go on; else in how many seconds to come back."""
        wait = self._bucket(address).take(now_seconds)
        return wait if wait > 0 else self._all.take(now_seconds)

    def note_refusal(self, address: str, now_seconds: float) -> None:
        """The request was refused: it costs more than it seemed."""
        self._bucket(address).charge(now_seconds, REFUSAL_COST - 1)

    def _bucket(self, address: str) -> Bucket:
        bucket = self._addresses.pop(address, None) or Bucket(ADDRESS_BURST, ADDRESS_PER_SECOND)
        self._addresses[address] = bucket
        while len(self._addresses) > MOST_ADDRESSES:
            self._addresses.popitem(last=False)
        return bucket
