"""The operator's grasp of its own state: the store, the newest `TrustState`, the keys that sign.

Holds no lock and starts nothing: whoever owns the store's thread calls it.
"""

from collections.abc import Callable
from datetime import datetime

from geneveil.model.clock import Clock
from geneveil.model.cluster import Mode
from geneveil.model.errors import TrustError
from geneveil.operator.cluster import SealedCluster, authority_certificate, authority_sha256
from geneveil.operator.config import to_settings
from geneveil.operator.records import AuthorityRecord
from geneveil.operator.seal import open_seal
from geneveil.operator.store import Store
from geneveil.operator.trust_state import TrustState
from geneveil.operator.trust_tables import TrustTables
from geneveil.pki.authority import Authority


def read_cluster(store: Store) -> SealedCluster:
    """Read what was sealed and who is trusted.

    Raises:
        TrustError: the seal is broken, or IPsec is on and there is no authority.
    """
    config = open_seal(store.read_seal())
    records = store.read_authorities()
    cluster = SealedCluster(
        config,
        tuple(record for record in records if record.retired_at is None),
        tuple(record for record in records if record.retired_at is not None),
    )
    if to_settings(config).mode is Mode.FULL and not cluster.authorities:
        raise TrustError("IPsec is on and the database holds no certificate authority")
    return cluster


def read_trust_state(store: Store, now: datetime) -> TrustState:
    """Read everything that nodes are told, consistent if called inside a transaction."""
    tables, cluster = TrustTables(store), read_cluster(store)
    bundle = {record.authority_id for record in cluster.authorities}
    return TrustState(
        cluster=cluster,
        trust=tables.read(),
        crls=tuple(crl for crl in tables.read_crls() if crl.authority_id in bundle and crl.crl_pem),
        revoked_chassis=tables.read_revoked_chassis(now),
        sha256={record.authority_id: authority_sha256(record) for record in cluster.authorities},
    )


class Registry:
    """Store, state and keys of a running operator.

    Args:
        read_key: loads an authority's key; called once for each authority.
        draw: gives so many random bytes.

    `expired_chassis` is what nodes are told; see `keeper`.
    """

    def __init__(
        self,
        store: Store,
        read_key: Callable[[AuthorityRecord], Authority],
        clock: Clock,
        draw: Callable[[int], bytes],
    ) -> None:
        self.store = store
        self.tables = TrustTables(store)
        self.clock = clock
        self.draw = draw
        self._read_key = read_key
        self._keys: dict[int, Authority] = {}
        self._believed_at: datetime | None = None
        self.state = read_trust_state(store, clock.now())
        self.expired_chassis: tuple[str, ...] = ()

    def refresh(self) -> bool:
        """Read the state again if its generation is another; says whether it was."""
        if self.tables.read_generation() == self.state.trust.generation:
            return False
        self.state = read_trust_state(self.store, self.believed_now())
        return True

    def believed_now(self) -> datetime:
        """The time by which what has ended is let go: the clock's, or while that is not believed
        the latest moment that was.
        """
        return self._believed_at or self.clock.now()

    def believe(self, disbelieving_since: datetime | None) -> None:
        """Trust the clock, or go by the latest moment at which it was trusted."""
        if disbelieving_since != self._believed_at:
            self._believed_at = disbelieving_since
            self.state = read_trust_state(self.store, self.believed_now())

    def forget_changes(self) -> None:
        """After a transaction that failed: read the state again."""
        self.state = read_trust_state(self.store, self.believed_now())

    def authority(self, record: AuthorityRecord) -> Authority:
        """An authority with its key.

        A number alone does not say which: after a transaction that failed another authority gets
        the same one.

        Raises:
            TrustError: the key can't be read.
        """
        known = self._keys.get(record.authority_id)
        if known is None or known.certificate != authority_certificate(record):
            known = self._keys[record.authority_id] = self._read_key(record)
        return known

    def forget_key(self, authority_id: int) -> None:
        """Drop a key from memory, as far as this language allows it."""
        self._keys.pop(authority_id, None)
