"""Keeps the Lease, in a thread of its own: what holds up the work never holds up the renewal."""

import logging
import threading
import time
from datetime import UTC, datetime

from geneveil.kube.errors import ApiUnavailableError, ConflictError
from geneveil.kube.kinds import LEASES
from geneveil.kube.port import KubePort
from geneveil.model.errors import GeneveilError, TrustError
from geneveil.operator.kubernetes.election import (
    ACT_SECONDS,
    LEASE_NAME,
    RENEW_SECONDS,
    RETRY_SECONDS,
    Sighting,
    Step,
    decide_step,
    is_rewound,
    lease_document,
    read_lease,
    see,
)
from geneveil.operator.log_lines import log_line

_log = logging.getLogger(__name__)


class Elector:
    """One candidate.

    Attributes:
        term: another number each time that it leads anew; what is remembered of the API is of one.
    Args:
        port: of its own, so that no other request delays a renewal.
        identity: unique to this process, also among its own restarts.
    """

    def __init__(self, port: KubePort, namespace: str, identity: str) -> None:
        self._port, self._namespace, self._identity = port, namespace, identity
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self.term = 0
        self._leads_until = float("-inf")
        self._sighting: Sighting | None = None
        self._written: set[str] = set()
        self._distrusted_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="elector", daemon=True)

    def start(self) -> None:
        """Become a candidate."""
        self._thread.start()

    def leads(self) -> bool:
        """This process may act now, and for some seconds more."""
        return time.monotonic() < self._leads_until

    def leads_in(self, term: int) -> bool:
        """As `leads`, and nothing has happened since that term began that makes what was read of
        the API another time's."""
        return self.leads() and self.term == term

    def distrusted_seconds(self) -> float:
        """For how long whoever answers has not been believed to be the API server."""
        since = self._distrusted_since
        return 0.0 if since is None else time.monotonic() - since

    def wait_to_lead(self, seconds: float) -> bool:
        """Wait so long at most."""
        with self._changed:
            return self._changed.wait_for(self.leads, seconds)

    def resign(self) -> None:
        """Act no more, and give the Lease up so that another need not wait."""
        self._stop.set()
        self._thread.join(timeout=2 * ACT_SECONDS)
        held = self.leads()
        self._leads_until = float("-inf")
        record = self._sighting.record if self._sighting else None
        if held and record is not None:
            try:
                self._port.replace(
                    LEASES, lease_document(record, "", self._namespace, datetime.now(UTC))
                )
            except GeneveilError as error:
                _log.warning(log_line("lease-not-released", error=error.render()))

    def _run(self) -> None:
        told = False
        while not self._stop.is_set():
            self._try_step()
            leads = self.leads()
            if leads != told:
                _log.info(log_line("leads" if leads else "leads-no-more"))
                told = leads
            with self._changed:
                self._changed.notify_all()
            self._stop.wait(RENEW_SECONDS if self._is_fresh() else RETRY_SECONDS)

    def _try_step(self) -> None:
        try:
            self._step()
            self._distrusted_since = None
        except ConflictError:
            self._distrusted_since = None  # another was faster; look again soon
        except GeneveilError as error:
            if not isinstance(error, TrustError | ApiUnavailableError):
                self._distrusted_since = None
            elif isinstance(error, TrustError) and self._distrusted_since is None:
                self._distrusted_since = time.monotonic()
            _log.warning(log_line("lease-failed", error=error.render()))
        except Exception as error:  # a broken Lease must not end the candidate
            _log.error(log_line("lease-broken", error=repr(error)))

    def _is_fresh(self) -> bool:
        return self._leads_until - time.monotonic() > ACT_SECONDS - RETRY_SECONDS

    def _step(self) -> None:
        document = self._port.find(LEASES, LEASE_NAME, self._namespace)
        began = time.monotonic()
        record = read_lease(document) if document is not None else None
        self._sighting = see(self._sighting, record, began)
        step = decide_step(self._sighting, self._identity, began)
        if step is Step.STAND_BY:
            self._leads_until = float("-inf")
            self._written.clear()
            return
        if is_rewound(record, self._written):
            _log.error(log_line("lease-rewound", why="what the API remembers is of an older time"))
            self._written.clear()
        if not self._written:
            self.term += 1
        wanted = lease_document(record, self._identity, self._namespace, datetime.now(UTC))
        self._written.add(wanted["spec"]["renewTime"])
        if step is Step.CREATE:
            written = self._port.create(LEASES, wanted)
        else:
            written = self._port.replace(LEASES, wanted)
        self._sighting = Sighting(read_lease(written), began)
        self._written = {self._sighting.record.renewed} if self._sighting.record else set()
        self._leads_until = began + ACT_SECONDS
