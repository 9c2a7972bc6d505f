"""A thread that writes the node's status when there is something to say."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from geneveil.agent.kube.field import field
from geneveil.agent.kube.node_ipsec import (
    STATUS_MANAGER,
    read_transitions,
    status_document,
    status_fields,
)
from geneveil.agent.kube.pace import heartbeat_seconds, is_due
from geneveil.agent.kube.place import Place
from geneveil.enroll.backoff import backoff_seconds
from geneveil.kube.errors import MissingError
from geneveil.kube.kinds import NODE_IPSECS
from geneveil.kube.port import KubePort
from geneveil.model.clock import Clock
from geneveil.model.errors import GeneveilError
from geneveil.model.node_status import NodeStatus

LOOK_SECONDS = 1.0
"""Between two looks at whether writing is due, while something waits to be written."""

ABSENT_SECONDS = 5.0
"""Between two attempts while the operator has not made this node's NodeIPsec."""

_log = logging.getLogger("geneveil.agent")


class Reporter:
    """Tells the cluster what this node is like; knows nothing but what it is told.

    That the API server is away is nothing to complain about here: whoever hears from the operator
    does.

    Args:
        confirm_anew: called when the object is found without the node's confirmation.
    """

    def __init__(
        self,
        place: Place,
        connect: Callable[[], KubePort],
        clock: Clock,
        confirm_anew: Callable[[], None],
    ) -> None:
        self._place = place
        self._connect = connect
        self._clock = clock
        self._confirm_anew = confirm_anew
        self._heartbeat = heartbeat_seconds(place.node)
        self._told = threading.Event()
        self._latest: NodeStatus | None = None
        self._written: dict[str, Any] | None = None
        self._written_at = 0.0
        self._transitions: dict[str, tuple[str, str]] | None = None
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def tell(self, status: NodeStatus) -> None:
        """What the node is like at this turn; returns at once."""
        self._latest = status
        self._told.set()

    def _run(self) -> None:
        attempts = 0
        while True:
            self._told.wait()
            self._told.clear()
            pause = LOOK_SECONDS
            try:
                self._write_if_due()
                attempts, self._complaint = 0, ""
            except MissingError:
                pause = ABSENT_SECONDS
            except GeneveilError as error:
                attempts += 1
                asked = getattr(error, "retry_after_seconds", 0.0)
                pause = backoff_seconds(f"report {self._place.node}", attempts, asked)
                self._complain(error)
            except Exception:
                attempts += 1
                pause = backoff_seconds(f"report {self._place.node}", attempts)
                _log.exception("writing the status failed in an unexpected way")
            time.sleep(pause)

    def _write_if_due(self) -> None:
        status = self._latest
        if status is None:
            return
        fields = status_fields(status)
        age_seconds = time.monotonic() - self._written_at
        if not is_due(fields, self._written, age_seconds, self._heartbeat):
            return
        before = self._known_transitions()
        document = status_document(self._place.node, fields, before, self._clock.now())
        there = self._connect().apply(NODE_IPSECS, document, STATUS_MANAGER, "status")
        if self._written is not None and field(there, "status", "trust") is None:
            self._confirm_anew()
        self._transitions = read_transitions(document)
        self._written, self._written_at = fields, time.monotonic()

    def _known_transitions(self) -> Mapping[str, tuple[str, str]]:
        """Since when each condition is as it is: an agent that was restarted reads it once."""
        if self._transitions is None:
            document = self._connect().read(NODE_IPSECS, self._place.node)
            self._transitions = read_transitions(document)
        return self._transitions

    def _complain(self, error: GeneveilError) -> None:
        if error.what != self._complaint:
            self._complaint = error.what
            _log.warning("the status was not written", extra={"fields": {"why": error.render()}})
