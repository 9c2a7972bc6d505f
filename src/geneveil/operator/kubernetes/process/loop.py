"""`geneveil operator run --kubernetes`: stand by, lead, work, give the lead up."""

import logging
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from functools import partial

from geneveil.kube.access import KubeAccess
from geneveil.kube.io import KubeClient
from geneveil.kube.server_clock import ServerClock
from geneveil.model.clock import SystemClock
from geneveil.operator.confirmations import Confirmations
from geneveil.operator.kubernetes.cluster_cache import ClusterCache
from geneveil.operator.kubernetes.elector.loop import Elector
from geneveil.operator.kubernetes.foundation import Means
from geneveil.operator.kubernetes.health.server import HealthServer
from geneveil.operator.kubernetes.session.loop import Session
from geneveil.operator.kubernetes.store import Place
from geneveil.operator.log_lines import log_line

WRITE_SECONDS = 5.0
"""A write that is not answered by then is given up, well within what is left of the lease."""

AWAY_AFTER_SECONDS = 900.0
"""Three heartbeats of an agent."""

STUCK_AFTER_SECONDS = 120.0
DISTRUST_SECONDS = 300.0
"""The file with the API server's authority is read again by itself; where that does not help for so
long, a new process with a new mount may."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KubernetesTerms:
    """How an operator of a Kubernetes cluster is run.

    Attributes:
        identity: in the Lease; empty for the host's name and a random part.
        health: address and port of /healthz and /readyz; None for none.
    """

    access: KubeAccess
    namespace: str
    signer_name: str
    identity: str = ""
    health: tuple[str, int] | None = None
    away_after_seconds: float = AWAY_AFTER_SECONDS


class KubernetesOperator:
    """One replica."""

    def __init__(self, terms: KubernetesTerms) -> None:
        self._terms = terms
        self._stop = threading.Event()
        self._ended_by = signal.SIGTERM
        self._session: Session | None = None
        name = terms.identity or os.environ.get("POD_NAME") or socket.gethostname()
        # another life of the same Pod is another candidate: it knows nothing of what this one did
        self._identity = f"{name}_{os.urandom(4).hex()}"
        # the elector asks every few seconds, so that what is known of the server's clock is fresh
        self._clock = ServerClock()
        self._elector_port = KubeClient(terms.access, WRITE_SECONDS, self._clock)
        self._elector = Elector(self._elector_port, terms.namespace, self._identity)

    def run(self) -> signal.Signals:
        """Work until SIGTERM or Ctrl-C, and say which of them it was."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        health = HealthServer(self._terms.health, self.judge_health) if self._terms.health else None
        _log.info(log_line("started", identity=self._identity, server=self._terms.access.server))
        self._elector.start()
        try:
            while not self._stop.is_set():
                if self._elector.wait_to_lead(0.5):
                    self._lead()
        finally:
            self._elector.resign()
            self._elector_port.close()
            if health is not None:
                health.close()
        _log.info(log_line("stopped", signal=self._ended_by.name))
        return self._ended_by

    def judge_health(self, is_readiness: bool) -> str:
        """Empty if all is well, else what is wrong; for probes."""
        distrusted = self._elector.distrusted_seconds()
        if distrusted > DISTRUST_SECONDS:
            return f"for {distrusted:.0f} s nobody who answered was believed to be the API server"
        session = self._session
        if session is None:
            return ""  # stands by
        silent = time.monotonic() - session.looked_at
        if silent > STUCK_AFTER_SECONDS:
            return f"the leader's last look was {silent:.0f} s ago"
        return "the state is not read yet" if is_readiness and not session.is_ready else ""

    def _lead(self) -> None:
        terms = self._terms
        work = KubeClient(terms.access, WRITE_SECONDS, self._clock)
        watches = KubeClient(terms.access)
        means = Means(
            place=Place(work, terms.namespace, partial(self._elector.leads_in, self._elector.term)),
            clock=SystemClock(),
            draw=os.urandom,
            cache=ClusterCache(),
            confirmations=Confirmations((), time.monotonic(), terms.away_after_seconds),
            server_now=work.server_now,
        )
        self._session = Session(means, watches, terms.signer_name)
        try:
            self._session.run(self._stop)
        finally:
            self._session = None
            watches.close()
            work.close()

    def _end(self, number: int, frame: object) -> None:
        self._ended_by = signal.Signals(number)
        self._stop.set()
