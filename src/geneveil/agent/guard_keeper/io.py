"""The guard, and a memory of who touched it.

The loop may wait for seconds, for a charon that was stopped or a disk that hangs. So the thread
that hears of a change mends the guard itself; the loop learns of it afterwards. What the guard
should be is decided in the loop alone: this only remembers the latest.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime

from geneveil.agent.disturbed import Disturbance, History
from geneveil.agent.repeated import Repeated
from geneveil.agent.seldom import Latest
from geneveil.guard.port import RestorableGuard
from geneveil.kernel_events.wire import TableChange
from geneveil.model.errors import GeneveilError
from geneveil.model.guard import GuardCounter, GuardSpec, ObservedGuard, Tally

_log = logging.getLogger("geneveil.agent")


class GuardKeeper:
    """A Guard that notices when what it set does not stand any more. For several threads.

    Args:
        now: aware UTC.
        wake: called after the guard was mended.
        good_for_seconds: how long a reading of a guard that stood is good, unless somebody touches
            it, which the thread that hears of it says.
    """

    def __init__(
        self,
        guard: RestorableGuard,
        now: Callable[[], datetime],
        wake: Callable[[], None],
        good_for_seconds: float = 0.0,
    ) -> None:
        self._guard = guard
        self._now = now
        self._wake = wake
        self._lock = threading.Lock()
        self._spec: GuardSpec | None = None
        self._is_disturbed = False
        self._culprit = ""
        self._tallies: dict[GuardCounter, Tally] = {}
        self._history = History()
        self._put_back = Repeated()
        self._refused = Repeated()
        self._refusal = ""
        self._latest = Latest[ObservedGuard](good_for_seconds)

    @property
    def history(self) -> History:
        """Every disturbance so far, counted."""
        return self._history

    @property
    def spec(self) -> GuardSpec | None:
        """What was put in place last, if anything was."""
        return self._spec

    def read(self) -> ObservedGuard:
        """What stands in the kernel; the same object as before while that is good."""
        with self._lock:
            self._say()  # what the thread held back, if a fight ended meanwhile
            return self._latest.get() or self._read()

    def forget(self) -> None:
        """Ask anew the next time."""
        with self._lock:
            self._latest.forget()

    def apply(self, spec: GuardSpec) -> bool:
        """Make the guard stand as `spec` says, and keep it so from now on."""
        with self._lock:
            return self._put(spec)

    def cover(self, spec: GuardSpec) -> tuple[GuardSpec, bool]:
        """As `apply`, for `spec` and whatever the guard covers already."""
        with self._lock:
            self._latest.forget()
            wide, changed = self._guard.cover(spec)
            self._spec = wide
            return wide, changed

    def tend(self, change: TableChange | None) -> None:
        """Somebody changed the table, or may have: if it was not us, put it back."""
        with self._lock:
            self._latest.forget()
            if self._spec is None:
                return
            if change is not None:
                self._culprit = f"{change.process} (process {change.pid})" if change.pid else ""
            try:
                if not self._put(self._spec):
                    return
            except GeneveilError as error:
                with contextlib.suppress(GeneveilError):
                    self._read()
                self._refusal = error.render()
                self._say(refused=True)
            else:
                self._say(put_back=True)
        self._wake()

    def _say(self, *, put_back: bool = False, refused: bool = False) -> None:
        """The first at once; whoever fights over the guard makes a line in ten seconds after."""
        now = time.monotonic()
        times = self._put_back.add(now) if put_back else self._put_back.due(now)
        if times:
            _log.info("guard put back", extra={"fields": {"times": times}})
        times = self._refused.add(now) if refused else self._refused.due(now)
        if times:
            fields = {"times": times, "why": self._refusal}
            _log.error("the guard cannot be mended", extra={"fields": fields})

    def _read(self) -> ObservedGuard:
        observed = self._guard.read()
        self._notice(observed)
        if self._spec is not None and observed.stands_for(self._spec):
            self._latest.keep(observed)
        return observed

    def _notice(self, observed: ObservedGuard) -> None:
        is_whole = self._spec is None or observed.stands_for(self._spec)
        if not is_whole and not self._is_disturbed:
            self._is_disturbed = True
            kind = Disturbance.ALTERED if observed.present else Disturbance.MISSING
            at = (self._now(), time.monotonic())
            self._history = self._history.with_another(kind, self._culprit, *at)
        self._tallies = {**self._tallies, **observed.counters}

    def _put(self, spec: GuardSpec) -> bool:
        self._latest.forget()
        # One look for both the count and the write: nothing can be mended without being counted.
        found = self._guard.restore(spec, self._tallies)
        self._notice(found)
        self._spec = spec
        self._is_disturbed = False
        self._culprit = ""
        return not found.stands_for(spec)
