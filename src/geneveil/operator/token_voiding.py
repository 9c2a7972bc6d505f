"""At most one join token of a chassis is good at any time.

A token that is left over after an enrolment is a second certificate for whoever finds it. So the
others lose their worth when one is spent, and when a newer one is made.
"""

from datetime import datetime

from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.store import Store
from geneveil.operator.trust_tables import TrustTables


def void_other_tokens(
    store: Store, chassis: str, why: str, now: datetime, remote: str = ""
) -> tuple[str, ...]:
    """Void every unspent token of a chassis, each with its entry in the log.

    Inside a transaction, before a new token is added or after one was spent.

    Args:
        why: a sentence for the log.
        remote: the address that spent the other token; empty for a command.
    Returns:
        Their identifiers, in the order of making.
    """
    voided = TrustTables(store).supersede_tokens(chassis, now)
    for identifier in voided:
        detail = f"token {identifier}: {why}"
        store.append_audit(
            AuditEvent(Event.TOKEN_VOIDED, chassis=chassis, remote=remote, detail=detail), now
        )
    return voided
