"""A session: as long as this process leads. Follows the API, and does its duties at each change."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from geneveil.kube.csr_wire import trim_signing_request
from geneveil.kube.errors import MissingError
from geneveil.kube.kinds import CLUSTER_IPSECS, GROUP, NODE_IPSECS, NODES, SIGNING_REQUESTS
from geneveil.kube.loop import Sink, start_following
from geneveil.kube.port import Change, Document, Kind, KubePort, Listing, Selection
from geneveil.model.errors import GeneveilError, OperatorUnreachableError
from geneveil.operator.failure_lines import FailureLines
from geneveil.operator.kubernetes.duties import Duties
from geneveil.operator.kubernetes.foundation import Foundation, Means, lay_foundation
from geneveil.operator.kubernetes.store import KubeStore
from geneveil.operator.log_lines import log_line

LOOK_SECONDS = 1.0
REPORT_SECONDS = 2.0
CLEAN_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 10.0
FAILING_SECONDS = 30.0
"""A failure that may pass by itself is told in the ClusterIPsec when it has lasted so long."""

REQUESTS_OF_A_PAGE = 50
"""Each may be as large as etcd takes it, 1.5 MiB; a node's has 2 KiB."""

_GATHER_SECONDS = 0.02
"""Changes that follow one another sooner are one look."""

_GATHER_MOST_SECONDS = 0.25
"""But one writer who never pauses keeps nobody waiting for the next look."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _News:
    kind: Kind
    listing: Listing | None = None
    change: Change | None = None
    document: Document | None = None


class Session:
    """One leader's session.

    Args:
        followed: a port for watches alone.
    """

    def __init__(self, means: Means, followed: KubePort, signer_name: str) -> None:
        self._means = means
        self._followed = followed
        self._signer_name = signer_name
        self._selections = (
            Selection(NODES, is_metadata_only=True),
            Selection(NODE_IPSECS),
            Selection(
                SIGNING_REQUESTS,
                fields=f"spec.signerName={signer_name}",
                page=REQUESTS_OF_A_PAGE,
                trim=trim_signing_request,
            ),
            Selection(CLUSTER_IPSECS),
        )
        self._news: queue.Queue[_News] = queue.Queue()
        self._over = threading.Event()
        self._base: Foundation | None = None
        self._pause = 0.0
        self._failure: GeneveilError | None = None
        self._failing_since = self._reported = float("-inf")
        self._told = {what: FailureLines() for what in ("look", "report", "clean")}
        self.looked_at = time.monotonic()
        self.is_ready = False

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set or the lead is lost."""
        duties = Duties(self._means, time.monotonic, self._signer_name)
        for selection in self._selections:
            start_following(self._followed, selection, self._sink(selection.kind), self._over)
        cleaned = 0.0
        try:
            is_busy = False
            while not stop.is_set() and self._means.place.may_write():
                self._take_news(0.0 if is_busy else max(LOOK_SECONDS, self._pause))
                self.looked_at = time.monotonic()
                if not self._means.cache.is_whole:
                    continue
                is_busy = self._look(duties)
                if not is_busy:
                    self._report(duties)
                base = self._base
                if base is None or base.store.is_stale:
                    continue
                if time.monotonic() - cleaned > CLEAN_SECONDS:
                    cleaned = time.monotonic()
                    self._try("clean", partial(duties.clean, base))
        finally:
            self._end(duties)

    def _look(self, duties: Duties) -> bool:
        try:
            base = self._base
            if base is None or base.store.is_stale:
                base = self._found_anew()
            if base is None:
                return False
            is_busy = duties.do(base)
        except GeneveilError as error:
            self._fail(error)
            return False
        finally:
            if self._base is not None:
                tell_audit(self._base.store)
        self._pause, self._failure, self.is_ready = 0.0, None, True
        if self._told["look"].succeeded():
            _log.info(log_line("looking-again"))
        return is_busy

    def _report(self, duties: Duties) -> None:
        """Tell people how it is, also while looks fail: an old `all is well` would be a lie."""
        at_seconds, failure, base = time.monotonic(), self._failure, self._base
        if at_seconds - self._reported <= REPORT_SECONDS or not self._means.place.may_write():
            return
        may_pass = failure is not None and failure.retryable
        if may_pass and at_seconds - self._failing_since < FAILING_SECONDS:
            return
        self._reported = at_seconds
        if base is not None and not base.store.is_stale:
            self._try("report", partial(duties.report, base, failure))
        elif failure is not None:
            self._try("report", partial(duties.report_unusable, failure))

    def _found_anew(self) -> Foundation | None:
        if self._base is not None:
            tell_audit(self._base.store)
            self._base.store.close()
            self._base = None
            _log.warning(log_line("reads-anew"))
        self._base = lay_foundation(self._means)
        self.is_ready = True
        return self._base

    def _try(self, what: str, duty: Callable[[], None]) -> None:
        try:
            duty()
            self._told[what].succeeded()
        except GeneveilError as error:
            text = error.render()
            if times := self._told[what].failed(text, time.monotonic()):
                _log.warning(log_line("duty-failed", duty=what, error=text, times=times))

    def _fail(self, error: GeneveilError) -> None:
        text = error.render()
        if times := self._told["look"].failed(text, time.monotonic()):
            _log.error(log_line("look-failed", error=text, times=times))
        if self._failure is None:
            self._failing_since = time.monotonic()
        self._failure = error
        asked = error.retry_after_seconds if isinstance(error, OperatorUnreachableError) else 0.0
        self._pause = max(min(2 * self._pause or 0.25, LONGEST_PAUSE_SECONDS), asked)

    def _take_news(self, seconds: float) -> None:
        """Wait so long for the first, then take all that come together."""
        until = time.monotonic() + seconds
        if self._pause:
            # what failed is not tried again at each change
            self._over.wait(self._pause)
            until = 0.0
        try:
            self._put(self._news.get(timeout=max(until - time.monotonic(), 0.0) or 0.001))
            until = time.monotonic() + _GATHER_MOST_SECONDS
            while time.monotonic() < until:
                self._put(self._news.get(timeout=_GATHER_SECONDS))
        except queue.Empty:
            return

    def _put(self, news: _News) -> None:
        cache = self._means.cache
        try:
            if news.listing is not None:
                cache.replace(news.kind, news.listing.items)
            elif news.change is not None and news.document is not None:
                cache.change(news.kind, news.change, news.document)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            _log.error(log_line("object-unreadable", kind=news.kind.plural, error=repr(error)))

    def _sink(self, kind: Kind) -> Sink:
        def failed(error: GeneveilError) -> None:
            _log.warning(log_line("follow-failed", kind=kind.plural, error=error.render()))
            if isinstance(error, MissingError) and kind.group == GROUP:
                # the CRD is gone, and so are its objects; what is left must go on
                self._news.put(_News(kind, listing=Listing((), "")))

        return Sink(
            replaced=lambda listing: self._news.put(_News(kind, listing=listing)),
            changed=lambda change, document: self._news.put(
                _News(kind, change=change, document=document)
            ),
            failed=failed,
        )

    def _end(self, duties: Duties) -> None:
        self._over.set()
        duties.close()
        if self._base is not None:
            base, self._base = self._base, None
            if self._means.place.may_write():
                self._try("clean", base.store.write_log)
            tell_audit(base.store)
            base.store.close()


def tell_audit(store: KubeStore) -> None:
    """Each new entry of the log is a line of this process' own log, which a cluster keeps."""
    names = ("seq", "at", "event", "reason", "chassis", "remote", "serial", "detail", "", "hash")
    for row in store.take_told():
        fields = {name: value for name, value in zip(names, row, strict=True) if name}
        what = str(fields.pop("event"))
        _log.info(log_line("audit", what=what, **fields))
