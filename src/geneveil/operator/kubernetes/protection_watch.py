"""Reads the CRDs and admission policies now and then, and tells what is wrong with them."""

import logging
from datetime import datetime

from geneveil.kube.csr_wire import time_text
from geneveil.kube.errors import ApiRefusedError
from geneveil.kube.kinds import (
    DEFINITIONS,
    EVENTS,
    OWN_DEFINITIONS,
    POLICIES,
    POLICY_BINDINGS,
)
from geneveil.kube.port import Document, KubePort
from geneveil.model.errors import GeneveilError
from geneveil.operator.kubernetes.protection import (
    POLICY_DIGESTS,
    Protection,
    judge_definitions,
    judge_protection,
    unreadable_protection,
)
from geneveil.operator.kubernetes.switch import Problem
from geneveil.operator.kubernetes.waiting import WaitLog
from geneveil.operator.log_lines import log_line

SECONDS_BETWEEN = 60.0

_log = logging.getLogger(__name__)


class ProtectionWatch:
    """Asks for each object by its name: the operator may read no others.

    Attributes:
        problems: as of the last look; empty if all was well, or before the first.
    """

    def __init__(self, port: KubePort, namespace: str, signer_name: str) -> None:
        self._port, self._namespace, self._signer_name = port, namespace, signer_name
        self._looked_at = float("-inf")
        self._told = WaitLog()
        self.problems: tuple[Problem, ...] = ()

    def look(self, at_seconds: float, now: datetime) -> None:
        """Look, unless the last time is less than a minute ago.

        Raises:
            GeneveilError: the API server did not answer; what was known stays.
        """
        if at_seconds - self._looked_at < SECONDS_BETWEEN:
            return
        try:
            definitions = {name: self._port.find(DEFINITIONS, name) for name in OWN_DEFINITIONS}
            found = [
                Protection(
                    name, self._port.find(POLICIES, name), self._port.find(POLICY_BINDINGS, name)
                )
                for name in POLICY_DIGESTS
            ]
            defined = judge_definitions(definitions)
            guarded = judge_protection(found, self._namespace, self._signer_name)
        except ApiRefusedError as error:
            defined, guarded = None, unreadable_protection(error.render())
        before = {problem.reason for problem in self.problems}
        self.problems = tuple(problem for problem in (defined, guarded) if problem is not None)
        self._looked_at = at_seconds
        self._told.keep_only({problem.reason for problem in self.problems})
        for problem in self.problems:
            if self._told.is_worth_telling(problem.reason, problem.message, at_seconds):
                _log.error(log_line("protection-not-whole", message=problem.message))
        if defined is not None and defined.reason not in before:
            self._tell(defined, now)

    def _tell(self, problem: Problem, now: datetime) -> None:
        try:
            self._port.create(EVENTS, definition_event(problem, now))
        except GeneveilError as error:  # the log says the same
            _log.warning(log_line("event-failed", error=error.render()))


def definition_event(problem: Problem, now: datetime) -> Document:
    """The Event that CRDs are not whole: what else would tell people may have no object to say it
    on.
    """
    name = OWN_DEFINITIONS[0]
    return {
        "metadata": {"name": f"{name}.{int(now.timestamp()):x}", "namespace": "default"},
        "involvedObject": {
            "apiVersion": DEFINITIONS.api_version,
            "kind": DEFINITIONS.name,
            "name": name,
        },
        "type": "Warning",
        "reason": problem.reason,
        "message": problem.message[:1000],
        "action": "Look",
        "reportingComponent": "geneveil-operator",
        "reportingInstance": "geneveil-operator",
        "source": {"component": "geneveil-operator"},
        "firstTimestamp": time_text(now),
        "lastTimestamp": time_text(now),
        "count": 1,
    }
