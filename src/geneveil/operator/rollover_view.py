"""Gathers what the roll-over's decision rests on: from the store, and from what nodes said."""

from collections.abc import Callable
from datetime import datetime

from geneveil.operator.cluster import SealedCluster, authority_certificate
from geneveil.operator.minting import MAX_EXPIRY
from geneveil.operator.records import Confirmation
from geneveil.operator.store import Store
from geneveil.operator.trust_state import TrustState
from geneveil.operator.trust_tables import TrustTables
from geneveil.pki.rollover import (
    AuthorityView,
    HolderView,
    Phase,
    RollOverView,
    plan_rotation,
)


def gather_rollover(
    store: Store,
    state: TrustState,
    find: Callable[[str], Confirmation | None],
    is_live: Callable[[str], bool],
    now: datetime,
) -> RollOverView:
    """Read everything; in STEADY no node is asked about, because nothing waits for one."""
    tables, cluster, trust = TrustTables(store), state.cluster, state.trust
    holders: tuple[HolderView, ...] = ()
    if trust.phase is not Phase.STEADY:
        ids = {sha256: number for number, sha256 in state.sha256.items()}
        valid = tables.read_valid_certificates(now)
        holders = tuple(
            judge_holder(chassis, certificates, find(chassis), ids, is_live(chassis))
            for chassis, certificates in valid.items()
        )
    unspent = 0
    if trust.phase is Phase.RETIRE:
        old = cluster.authorities[0].authority_id
        unspent = tables.count_unspent_tokens(old, trust.phase_since + MAX_EXPIRY, now)
    return RollOverView(
        phase=trust.phase,
        authorities=tuple(
            AuthorityView(
                record.authority_id,
                authority_certificate(record).not_valid_before_utc,
                authority_certificate(record).not_valid_after_utc,
            )
            for record in cluster.authorities
        ),
        holders=holders,
        unspent_tokens=unspent,
        rotate_at=rotation_time(cluster),
        is_requested=trust.requested_at is not None,
        now=now,
    )


def rotation_time(cluster: SealedCluster) -> datetime:
    """When the authority that signs is to be followed by another."""
    signing = authority_certificate(cluster.signing_authority())
    lifetime = cluster.settings.certificates.node_lifetime
    return plan_rotation(
        signing.not_valid_before_utc, signing.not_valid_after_utc, lifetime, cluster.rotate_after
    )


def judge_holder(
    chassis: str,
    certificates: tuple[tuple[str, int], ...],
    confirmation: Confirmation | None,
    ids: dict[str, int],
    is_live: bool,
) -> HolderView:
    """What one chassis has.

    Args:
        certificates: (serial, authority_id) of those that are valid, in the order of issue.
        ids: SHA-256 of a CA certificate -> authority_id, of the bundle.
    """
    if confirmation is None:
        holds = frozenset(authority_id for _, authority_id in certificates)
        return HolderView(chassis, is_live, frozenset(), 0, holds)
    said, authority_of = confirmation.state, dict(certificates)
    serials = [serial for serial, _ in certificates]
    first_kept = serials.index(said.serial) if said.serial in serials else 0
    kept = {*serials[first_kept:], *said.in_use}
    return HolderView(
        chassis=chassis,
        is_live=is_live,
        trusts=frozenset(ids[sha256] for sha256 in said.trusts if sha256 in ids),
        uses=authority_of.get(said.serial, 0),
        holds=frozenset(authority_of[serial] for serial in kept if serial in authority_of),
    )
