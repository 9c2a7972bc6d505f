"""The first thing that is written about a cluster: its sealed configuration and its authority.

Wherever the state is kept: one transaction of a store, and a key that is put somewhere before it.
"""

from collections.abc import Callable
from datetime import datetime

from geneveil.model.cluster import Mode
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.config import ClusterIPsec, to_settings
from geneveil.operator.records import AuthorityRecord
from geneveil.operator.seal import make_seal
from geneveil.operator.store import Store
from geneveil.operator.trust_tables import TrustTables
from geneveil.pki.authority import (
    SERIAL_BYTES,
    encode_certificate,
    make_authority,
    serial_text,
)
from geneveil.pki.keys import PrivateKey, make_key


def seal_cluster(
    store: Store,
    config: ClusterIPsec,
    now: datetime,
    draw: Callable[[int], bytes],
    write_key: Callable[[int, PrivateKey], None],
) -> None:
    """Seal a configuration in an empty store and, if IPsec is on, make the authority.

    Args:
        write_key: puts the key of an authority, by its number.
    """
    settings = to_settings(config)
    with store.transaction():
        seal = make_seal(config)
        store.add_seal(seal, now)
        detail = f"mode {settings.mode.value}, configuration {seal.sha256}"
        store.append_audit(AuditEvent(Event.SEALED, detail=detail), now)
        TrustTables(store).set_wave(config.spec.certificates.wave())
        if settings.mode is Mode.FULL:
            policy = settings.certificates
            key = make_key(policy.key_type)
            authority = make_authority(
                settings.name, key, policy.ca_lifetime, now, draw(SERIAL_BYTES)
            )
            write_key(1, key)
            pem = encode_certificate(authority.certificate)
            store.add_authority(AuthorityRecord(1, pem, True, now))
            serial = serial_text(authority.certificate.serial_number)
            subject = authority.certificate.subject.rfc4514_string()
            store.append_audit(AuditEvent(Event.AUTHORITY_MADE, serial=serial, detail=subject), now)
