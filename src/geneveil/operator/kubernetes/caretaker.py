"""Keeps what goes with Nodes as it should be: NodeIPsecs, revocations, old requests.

Absence is never taken from a failed read: a Node counts as gone when a whole list did not have it
and the API server, asked for that very Node, says that there is none.
"""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta

from geneveil.kube.csr_wire import SigningRequest, parse_time
from geneveil.kube.errors import ExistsError, MissingError
from geneveil.kube.kinds import NODE_IPSECS, NODES, SIGNING_REQUESTS
from geneveil.kube.port import Document, KubePort
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.kubernetes.cluster_cache import ClusterCache
from geneveil.operator.kubernetes.store import KubeStore
from geneveil.operator.log_lines import log_line
from geneveil.operator.records import NodeRecord, Standing
from geneveil.operator.revocation import revoke_node
from geneveil.operator.trust_tables import TrustTables
from geneveil.pki.crl import RevocationReason

REVOKE, READMIT = "geneveil.io/revoke", "geneveil.io/readmit"
"""Annotations on a NodeIPsec: a reason of RFC 5280, and the time from which it is taken back."""

WRITERS = 8
MOST_AT_ONCE = 64
"""NodeIPsecs of one look: requests do not wait until five thousand are made."""

MOST_DELETED = 500
"""Requests of one look: one node's hundred thousand do not hold up everything else."""

KEPT_AFTER_ANSWER = timedelta(hours=1)
KEPT_UNANSWERED = timedelta(hours=24)

_log = logging.getLogger(__name__)


class Caretaker:
    """Runs in the thread that owns the store."""

    def __init__(self, port: KubePort, cache: ClusterCache) -> None:
        self._port, self._cache = port, cache
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="node-ipsecs")

    def close(self) -> None:
        """Make no more."""
        self._writers.shutdown(wait=False, cancel_futures=True)

    def keep_node_ipsecs(self) -> None:
        """One NodeIPsec for each Node, and none besides."""
        cache = self._cache
        missing = sorted(cache.nodes.keys() - cache.node_ipsecs.keys())[:MOST_AT_ONCE]
        for made in self._writers.map(self._make, missing):
            if made is not None:
                cache.node_ipsecs[str(made["metadata"]["name"])] = made
        for name in sorted(cache.node_ipsecs.keys() - cache.nodes.keys()):
            if self._is_gone(name):
                uid = str(cache.node_ipsecs[name]["metadata"]["uid"])
                with suppress(MissingError):
                    self._port.delete(NODE_IPSECS, name, uid=uid)
                cache.node_ipsecs.pop(name, None)

    def revoke_the_gone(self, store: KubeStore, now: datetime) -> None:
        """Shut out every chassis whose Node is gone."""
        tables = TrustTables(store)
        shut_out = {node.chassis for node in tables.read_nodes() if node.is_shut_out}
        known = set(store.read_chassis_names())  # without those whose last certificate is forgotten
        gone = [
            chassis
            for chassis, binding in sorted(store.bindings.items())
            if chassis in known
            and chassis not in shut_out
            and binding.node not in self._cache.nodes
            and self._is_gone(binding.node)
        ]
        if not gone:
            return
        with store.transaction():
            for chassis in gone:
                reason = RevocationReason.CESSATION_OF_OPERATION
                revoke_node(store, chassis, Standing.REMOVED, reason, now)
                _log.info(log_line("node-gone", chassis=chassis))

    def obey_people(self, store: KubeStore, now: datetime) -> None:
        """Do what annotations of NodeIPsecs say: revoke a node, or let it back."""
        tables = TrustTables(store)
        for name, document in sorted(self._cache.node_ipsecs.items()):
            annotations = document["metadata"].get("annotations") or {}
            if not {REVOKE, READMIT} & annotations.keys():
                continue
            # what a node says now that it is does not count: it could name another, or none
            for chassis in store.chassis_of(name):
                standing = tables.find_node(chassis)
                is_revoked = standing is not None and standing.standing is Standing.REVOKED
                if READMIT in annotations:
                    if standing and is_revoked and _is_later(annotations[READMIT], standing):
                        _readmit(store, standing, now)
                elif not is_revoked and chassis in store.read_chassis_names():
                    reason = _reason(annotations[REVOKE])
                    revoke_node(store, chassis, Standing.REVOKED, reason, now)
                    _log.info(log_line("node-revoked", chassis=chassis, reason=reason.value))

    def clean_requests(self, now: datetime) -> None:
        """Delete requests that nobody waits for any more."""
        old = find_old_requests(self._cache.requests.values(), now)
        for request in old[:MOST_DELETED]:
            with suppress(MissingError):
                self._port.delete(SIGNING_REQUESTS, request.name, uid=request.uid)
            self._cache.requests.pop(request.name, None)

    def _make(self, node: str) -> Document | None:
        try:
            return self._port.create(NODE_IPSECS, node_ipsec_document(self._cache.nodes[node]))
        except ExistsError:
            return None  # the watch will say so

    def _is_gone(self, node: str) -> bool:
        return self._port.find(NODES, node) is None


def node_ipsec_document(node: Document) -> Document:
    """The NodeIPsec of a Node, which Kubernetes removes with it."""
    metadata = node["metadata"]
    owner = {
        "apiVersion": "v1",
        "kind": "Node",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    return {"metadata": {"name": metadata["name"], "ownerReferences": [owner]}, "spec": {}}


def find_old_requests(
    requests: Iterable[SigningRequest], now: datetime
) -> tuple[SigningRequest, ...]:
    """Requests that are to be deleted: answered an hour ago and more, or never within a day."""
    return tuple(
        request
        for request in requests
        if now - request.created_at
        > (KEPT_AFTER_ANSWER if request.is_answered else KEPT_UNANSWERED)
    )


def _is_later(text: str, standing: NodeRecord) -> bool:
    try:
        return parse_time(text) >= standing.changed_at
    except ValueError:
        _log.warning(log_line("readmit-unreadable", chassis=standing.chassis, time=text[:40]))
        return False


def _reason(text: str) -> RevocationReason:
    try:
        return RevocationReason(text)
    except ValueError:
        return RevocationReason.UNSPECIFIED


def _readmit(store: KubeStore, standing: NodeRecord, now: datetime) -> None:
    with store.transaction():
        record = NodeRecord(standing.chassis, Standing.READMITTED, standing.reason, now)
        TrustTables(store).put_node(record)
        event = AuditEvent(Event.NODE_READMITTED, chassis=standing.chassis, detail="by a person")
        store.append_audit(event, now)
        TrustTables(store).bump()
    _log.info(log_line("node-readmitted", chassis=standing.chassis))
