"""Readings that cost a process of their own, asked for no more often than they are worth.

A turn that an event woke, or that follows another closely, must not wait for nft: on a busy machine
that is most of a turn, and pairs are made by such turns. A turn that nothing woke asks anew.
"""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from geneveil.guard.bolt.port import Bolt
from geneveil.guard.sentinel.port import Sentinel
from geneveil.model.errors import GeneveilError
from geneveil.model.guard import GuardSpec
from geneveil.model.sentinel import ObservedSentinel, SentinelSpec

ReadingT = TypeVar("ReadingT")

SELDOM_SECONDS = 5.0
"""With events without end every reading is still asked for this often."""

REFUSED_SECONDS = 60.0
"""A kernel learns nothing; but what refused may have been short of memory."""


class Latest(Generic[ReadingT]):
    """The latest reading, for as long as it is good; not for several threads."""

    def __init__(
        self, good_for_seconds: float, now_seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._good_for_seconds = good_for_seconds
        self._now_seconds = now_seconds
        self._reading: ReadingT | None = None
        self._until_seconds = 0.0

    def get(self) -> ReadingT | None:
        """The same object as was kept, or None: ask."""
        return self._reading if self._now_seconds() < self._until_seconds else None

    def keep(self, reading: ReadingT) -> None:
        """Good from now on."""
        self._reading = reading
        self._until_seconds = self._now_seconds() + self._good_for_seconds

    def forget(self) -> None:
        """It is true no longer, or may not be."""
        self._reading = None


class SeldomBolt:
    """A Bolt that is not tried again and again on a kernel that can't have it."""

    def __init__(self, bolt: Bolt, now_seconds: Callable[[], float] = time.monotonic) -> None:
        self._bolt = bolt
        self._refusal = Latest[GeneveilError](REFUSED_SECONDS, now_seconds)

    @property
    def held(self) -> GuardSpec | None:
        """What it stands for, owned by this process."""
        return self._bolt.held

    def hold(self, spec: GuardSpec) -> bool:
        """Make it stand for `spec`; fails as it failed a moment ago, without being asked."""
        refusal = self._refusal.get()
        if refusal is not None:
            raise refusal
        try:
            return self._bolt.hold(spec)
        except GeneveilError as error:
            self._refusal.keep(error)
            raise


class SeldomSentinel:
    """A Sentinel that is read seldom. Its counters are for people, and for a finding that lasts."""

    def __init__(self, sentinel: Sentinel) -> None:
        self._sentinel = sentinel
        self._latest = Latest[ObservedSentinel](SELDOM_SECONDS)

    def read(self) -> ObservedSentinel:
        """What stood in the kernel a moment ago."""
        observed = self._latest.get()
        if observed is None:
            observed = self._sentinel.read()
            self._latest.keep(observed)
        return observed

    def forget(self) -> None:
        """Ask anew the next time."""
        self._latest.forget()

    def apply(self, spec: SentinelSpec) -> bool:
        """Make it stand as `spec` says; True if something had to be changed."""
        self._latest.forget()
        return self._sentinel.apply(spec)
