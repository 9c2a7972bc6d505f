"""Shutting a node out, by `operator revoke` and `operator remove`.

One transaction: its certificates are revoked, its unspent tokens void, its name remembered as shut
out, the log told, a new generation begun. From then on the operator refuses it. The running
operator sees the new generation, signs a CRL and wakes every node; the command itself needs no key.
"""

from dataclasses import dataclass
from datetime import datetime

from geneveil.model.errors import RefusedError
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.records import NodeRecord, Standing
from geneveil.operator.store import Store
from geneveil.operator.trust_tables import TrustTables
from geneveil.pki.crl import RevocationReason

_EVENTS = {Standing.REVOKED: Event.NODE_REVOKED, Standing.REMOVED: Event.NODE_REMOVED}


@dataclass(frozen=True)
class Revocation:
    """What was done.

    Attributes:
        certificates: how many certificates were revoked now.
        tokens: how many tokens lost their worth now.
        is_new: False if all of it had been done before.
    """

    chassis: str
    standing: Standing
    reason: RevocationReason
    at: datetime
    certificates: int
    tokens: int
    is_new: bool


def revoke_node(
    store: Store, chassis: str, standing: Standing, reason: RevocationReason, now: datetime
) -> Revocation:
    """Shut a node out: durable, and in force for this operator, when it returns.

    Doing it again changes nothing.

    Raises:
        RefusedError: `node-unknown`, no such chassis ever had a certificate or a token.
    """
    tables = TrustTables(store)
    with store.transaction():
        if chassis not in store.read_chassis_names():
            raise RefusedError(
                "node-unknown",
                f"no chassis {chassis} ever had a certificate or a token",
                remedy="geneveil operator list shows those that have",
            )
        before = tables.find_node(chassis)
        certificates = tables.revoke_certificates(chassis, reason, now)
        tokens = tables.void_tokens(chassis, now)
        is_new = bool(certificates or tokens) or before is None or before.standing is not standing
        if is_new:
            tables.put_node(NodeRecord(chassis, standing, reason.value, now))
            detail = f"{reason.value}; certificates revoked: {certificates}, tokens void: {tokens}"
            store.append_audit(AuditEvent(_EVENTS[standing], chassis=chassis, detail=detail), now)
            tables.bump()
    return Revocation(chassis, standing, reason, now, certificates, tokens, is_new)
