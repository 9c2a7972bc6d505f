"""Keeps what goes with Nodes as it should be: NodeIPsecs, revocations, old requests.

Absence is never taken from a failed read: a Node counts as gone when a whole list did not have it
and the API server, asked for that very Node, says that there is none.
"""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta
from heapq import nsmallest

from geneveil.kube.csr_wire import SigningRequest, parse_time
from geneveil.kube.errors import ExistsError, MissingError
from geneveil.kube.kinds import NODE_IPSECS, NODES, SIGNING_REQUESTS
from geneveil.kube.port import Change, Document, KubePort
from geneveil.model.names import name_key
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.confirmations import Confirmations
from geneveil.operator.kubernetes.cluster_cache import ClusterCache
from geneveil.operator.kubernetes.ledger import Binding
from geneveil.operator.kubernetes.orders import READMIT, REVOKE, read_orders
from geneveil.operator.kubernetes.store import KubeStore
from geneveil.operator.log_lines import log_line
from geneveil.operator.records import NodeRecord, Standing
from geneveil.operator.revocation import revoke_node
from geneveil.operator.trust_tables import TrustTables
from geneveil.pki.crl import RevocationReason

WRITERS = 8
MOST_AT_ONCE = 64
"""NodeIPsecs of one look: requests do not wait until five thousand are made."""

MOST_DELETED = 500
"""Requests of one look: one node's hundred thousand do not hold up everything else."""

MOST_FORGOTTEN = 100
"""Ledgers of one cleaning: when an authority left, thousands are over at once."""

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
        missing = nsmallest(MOST_AT_ONCE, cache.lacking)
        for made in self._writers.map(self._make, missing):
            if made is not None:
                cache.change(NODE_IPSECS, Change.ADDED, made)
        for name in sorted(cache.leftover):
            if self._is_gone(name):
                document = cache.node_ipsecs[name]
                with suppress(MissingError):
                    self._port.delete(NODE_IPSECS, name, uid=str(document["metadata"]["uid"]))
                cache.change(NODE_IPSECS, Change.DELETED, document)

    def revoke_the_gone(self, store: KubeStore, now: datetime) -> None:
        """Shut out every chassis whose Node is gone, also where another of its name was made since:
        its agent asks anew, and is let in.
        """
        tables = TrustTables(store)
        away = sorted(
            chassis
            for chassis, binding in store.bindings.items()
            if not is_that_node(self._cache.nodes.get(binding.node), binding)
        )
        if not away:
            return
        shut_out = {node.chassis for node in tables.read_nodes() if node.is_shut_out}
        gone = [
            chassis
            for chassis in away
            if chassis not in shut_out
            # not those whose last certificate is forgotten
            and store.find_certificates_of(chassis)
            and self._has_left(store.bindings[chassis])
        ]
        if not gone:
            return
        with store.transaction():
            for chassis in gone:
                reason = RevocationReason.CESSATION_OF_OPERATION
                revoke_node(store, chassis, Standing.REMOVED, reason, now)
                _log.info(log_line("node-gone", chassis=chassis))

    def revoke_the_former(
        self, store: KubeStore, confirmations: Confirmations, now: datetime
    ) -> None:
        """Shut out what a Node was before it was another chassis: its system was made anew. Else
        the certificate of before would be good until its end, and hold up every roll-over.

        Not before the node itself says that it uses a certificate of what it is now.
        """
        former = [
            chassis
            for chassis, binding in store.bindings.items()
            if self._is_former(store, chassis, binding, confirmations)
        ]
        if not former:
            return
        with store.transaction():
            for chassis in sorted(former):
                revoke_node(store, chassis, Standing.REMOVED, RevocationReason.SUPERSEDED, now)
                _log.info(log_line("chassis-replaced", chassis=chassis))

    def _is_former(
        self, store: KubeStore, chassis: str, binding: Binding, confirmations: Confirmations
    ) -> bool:
        facts = self._cache.claims.find(binding.node)
        if facts is None or not facts.chassis or name_key(facts.chassis) == name_key(chassis):
            return False
        said = confirmations.find(facts.chassis)
        used = store.find_certificate(said.state.serial) if said is not None else None
        if said is None or used is None or used.chassis != facts.chassis or used.revoked_at:
            return False
        own = [one.serial for one in store.find_certificates_of(chassis) if one.revoked_at is None]
        return bool(own) and not set(own) & set(said.state.in_use)

    def forget_the_gone(self, store: KubeStore) -> None:
        """Delete what is kept of chassis that left long ago; see `forgetting`."""
        gone = store.forget_gone(lambda node: node in self._cache.nodes, MOST_FORGOTTEN)
        if gone:
            _log.info(log_line("ledgers-deleted", count=len(gone), first=gone[0]))

    def obey_people(self, store: KubeStore, now: datetime, ahead: timedelta = timedelta(0)) -> None:
        """Do what annotations of NodeIPsecs say: revoke a node, or let it back.

        Args:
            ahead: how far the API server's clock, which people's wishes go by, is ahead of ours.
        """
        tables = TrustTables(store)
        for name in sorted(self._cache.ordered):
            orders = read_orders(self._cache.node_ipsecs[name])
            # what a node says now that it is does not count: it could name another, or none
            for chassis in store.chassis_of(name):
                standing = tables.find_node(chassis)
                is_revoked = standing is not None and standing.standing is Standing.REVOKED
                if READMIT in orders:
                    wish = orders[READMIT]
                    if standing and is_revoked and _is_later(wish, standing, ahead):
                        _readmit(store, standing, now)
                elif not is_revoked and store.find_certificates_of(chassis):
                    reason = _reason(orders[REVOKE])
                    revoke_node(store, chassis, Standing.REVOKED, reason, now)
                    _log.info(log_line("node-revoked", chassis=chassis, reason=reason.value))

    def clean_requests(self, now: datetime) -> None:
        """Delete requests that nobody waits for any more.

        Args:
            now: of the API server's clock, which stamped them.
        """
        old = find_old_requests(self._cache.requests.values(), now)
        for request in old[:MOST_DELETED]:
            with suppress(MissingError):
                self._port.delete(SIGNING_REQUESTS, request.name, uid=request.uid)
            self._cache.change(SIGNING_REQUESTS, Change.DELETED, request.document)

    def _make(self, node: str) -> Document | None:
        try:
            return self._port.create(NODE_IPSECS, node_ipsec_document(self._cache.nodes[node]))
        except ExistsError:
            return None  # the watch will say so

    def _is_gone(self, node: str) -> bool:
        return self._port.find(NODES, node) is None

    def _has_left(self, binding: Binding) -> bool:
        return not is_that_node(self._port.find(NODES, binding.node), binding)


def is_that_node(node: Document | None, binding: Binding) -> bool:
    """A Node is the one that a chassis was bound to, and not a later one of its name.

    A binding without a UID is of any Node of that name.
    """
    return node is not None and binding.uid in ("", str(node["metadata"]["uid"]))


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


def _is_later(text: str, standing: NodeRecord, ahead: timedelta) -> bool:
    try:
        return parse_time(text) >= standing.changed_at + ahead
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
