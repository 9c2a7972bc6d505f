"""Writes what agents and people are told, when it differs from what was written."""

import logging
from datetime import datetime
from typing import Any

from geneveil.kube.errors import ConflictError, ExistsError, MissingError
from geneveil.kube.kinds import CLUSTER_IPSECS, CONFIG_MAPS, TRUST_CONFIG_MAP
from geneveil.kube.port import Document, KubePort
from geneveil.model.errors import TrustError
from geneveil.operator.kubernetes.capacity import MOST_BYTES, REMEDY
from geneveil.operator.kubernetes.cluster_status import (
    STATUS_MANAGER,
    ClusterFacts,
    status_document,
    unusable_document,
)
from geneveil.operator.kubernetes.publication import (
    TRUST_KEY,
    published_generation,
    trust_document,
)
from geneveil.operator.log_lines import log_line
from geneveil.operator.trust_state import TrustState
from geneveil.operator.trust_tables import RESTORE_STEP

MOST_AHEAD = 256 * RESTORE_STEP
"""A generation further ahead was never published by an operator: it is overwritten."""

_log = logging.getLogger(__name__)


class Publisher:
    """Remembers what it wrote.

    Attributes:
        told_bytes: how large what every node is told is, or was to be, last.
    """

    def __init__(self, port: KubePort, namespace: str) -> None:
        self._port, self._namespace = port, namespace
        self._trust: Document | None = None
        self._data: Any = None
        self._status: Any = None
        self.told_bytes = 0

    def publish_trust(
        self,
        state: TrustState,
        expired_chassis: tuple[str, ...] = (),
        reissue: tuple[str, ...] = (),
    ) -> int:
        """Write the ConfigMap if it differs; always over the version that was read.

        Args:
            expired_chassis, reissue: as in `WatchAnswer`.
        Returns:
            The generation that is published; more than the state's if another one was there,
            which is left: what nodes have seen is never taken back.
        Raises:
            ConflictError: somebody else wrote it; the next call reads it anew.
            TrustError: it is too large; what was published stays.
        """
        wanted = trust_document(state, self._namespace, expired_chassis, reissue)
        self.told_bytes = len(wanted["data"][TRUST_KEY])
        if self.told_bytes > MOST_BYTES:
            raise TrustError(
                "what every node is told is too large for an object of the API",
                why=f"{self.told_bytes} bytes, of at most {MOST_BYTES}; newer revocations are "
                "not told",
                remedy=REMEDY,
            )
        if self._trust is not None and wanted["data"] == self._data:
            return state.trust.generation
        if self._trust is None:
            self._trust = self._port.find(CONFIG_MAPS, TRUST_CONFIG_MAP, self._namespace)
        there = self._trust
        published = published_generation(there) if there is not None else 0
        if 0 < published - state.trust.generation <= MOST_AHEAD:
            self._trust = None
            return published
        try:
            if there is None:
                self._trust = self._port.create(CONFIG_MAPS, wanted)
            elif there.get("data") != wanted["data"]:
                wanted["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"]
                self._trust = self._port.replace(CONFIG_MAPS, wanted)
        except (ConflictError, ExistsError, MissingError):
            self.forget()
            raise
        self._data = wanted["data"]
        _log.info(log_line("trust-published", generation=state.trust.generation))
        return state.trust.generation

    def publish_status(self, facts: ClusterFacts, switch: Document, now: datetime) -> None:
        """Apply the ClusterIPsec's status if it differs."""
        self._apply_status(status_document(facts, switch, now), switch)

    def publish_unusable(self, why: str, switch: Document, now: datetime) -> None:
        """Say in the ClusterIPsec's status that the state can't be used."""
        self._apply_status(unusable_document(why, switch, now), switch)

    def _apply_status(self, wanted: Document, switch: Document) -> None:
        uid = switch["metadata"].get("uid")
        if (uid, wanted["status"]) != self._status:
            self._port.apply(CLUSTER_IPSECS, wanted, STATUS_MANAGER, "status")
            self._status = (uid, wanted["status"])

    def forget(self) -> None:
        """Somebody else may have written: compare with the API at the next call."""
        self._trust, self._data, self._status = None, None, None
