"""Reads the admission policies now and then, and remembers what is wrong with them."""

import logging

from geneveil.kube.errors import ApiRefusedError
from geneveil.kube.kinds import POLICIES, POLICY_BINDINGS
from geneveil.kube.port import KubePort
from geneveil.operator.kubernetes.protection import (
    POLICY_DIGESTS,
    Protection,
    judge_protection,
    unreadable_protection,
)
from geneveil.operator.kubernetes.switch import Problem
from geneveil.operator.log_lines import log_line

SECONDS_BETWEEN = 60.0

_log = logging.getLogger(__name__)


class ProtectionWatch:
    """Asks for each policy by its name: the operator may read no others.

    Attributes:
        problem: as of the last look; None if all was well, or before the first.
    """

    def __init__(self, port: KubePort, namespace: str, signer_name: str) -> None:
        self._port, self._namespace, self._signer_name = port, namespace, signer_name
        self._looked_at = float("-inf")
        self.problem: Problem | None = None

    def look(self, at_seconds: float) -> None:
        """Look, unless the last time is less than a minute ago.

        Raises:
            GeneveilError: the API server did not answer; what was known stays.
        """
        if at_seconds - self._looked_at < SECONDS_BETWEEN:
            return
        try:
            found = [
                Protection(
                    name, self._port.find(POLICIES, name), self._port.find(POLICY_BINDINGS, name)
                )
                for name in POLICY_DIGESTS
            ]
            problem = judge_protection(found, self._namespace, self._signer_name)
        except ApiRefusedError as error:
            problem = unreadable_protection(error.render())
        if problem is not None and problem != self.problem:
            _log.error(log_line("protection-not-whole", message=problem.message))
        self.problem, self._looked_at = problem, at_seconds
