"""A person asks for a roll-over, by `operator ca rotate`. The running operator does the rest."""

from datetime import datetime, timedelta

from geneveil.model.cluster import Mode
from geneveil.model.errors import ConfigError, RefusedError
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.config import parse_duration
from geneveil.operator.registry import read_cluster
from geneveil.operator.store import Store
from geneveil.operator.trust_tables import TrustTables
from geneveil.pki.rollover import Phase


def request_rotation(store: Store, wave: str, now: datetime) -> bool:
    """Ask for a roll-over; durable when it returns.

    Args:
        wave: over how long nodes renew, such as `6h`; empty for what is set.
    Returns:
        False if one is under way or was asked for already; a wave that is given counts even then.
    Raises:
        RefusedError: `ipsec-disabled`.
        ConfigError: the wave is no time, or longer than certificates allow.
    """
    cluster, tables = read_cluster(store), TrustTables(store)
    if cluster.settings.mode is Mode.DISABLED:
        raise RefusedError("ipsec-disabled", "there is no authority", why="IPsec is off")
    span = _parse_wave(wave, cluster.config.spec.certificates.left()) if wave else None
    with store.transaction():
        if span is not None:
            tables.set_wave(span)
        trust = tables.read()
        is_new = trust.phase is Phase.STEADY and trust.requested_at is None
        if is_new:
            tables.request_rotation(now)
            store.append_audit(AuditEvent(Event.ROLLOVER_REQUESTED), now)
        elif span is not None:
            tables.bump()  # nodes that wait for their turn get another one
    return is_new


def _parse_wave(text: str, most: timedelta) -> timedelta:
    try:
        span = parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--wave {error}") from None
    if span >= most:
        raise ConfigError(
            f"--wave {text} is too long",
            why="certificates would end before it is their turn",
            remedy=f"at most {most.days} days",
        )
    return span
