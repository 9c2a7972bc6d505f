"""What every answer about trust rests on, read whole whenever the generation changes. Pure values.

TrustState ──build_watch_answer──> what one node is told
"""

from dataclasses import dataclass
from datetime import datetime

from geneveil.enroll.port import WatchAnswer
from geneveil.operator.cluster import SealedCluster
from geneveil.operator.records import AuthorityRecord, CertificateRecord, TrustRecord
from geneveil.operator.trust_tables import CrlRecord
from geneveil.pki.renewal import renewal_fraction
from geneveil.pki.rollover import Phase, plan_wave


@dataclass(frozen=True)
class TrustState:
    """The cluster's trust at one generation.

    Attributes:
        crls: of authorities of the bundle, by authority; those that were signed.
        revoked_chassis: chassis without a valid certificate that had one revoked, ascending.
        sha256: authority_id -> SHA-256 of its certificate (DER), of the bundle.
    """

    cluster: SealedCluster
    trust: TrustRecord
    crls: tuple[CrlRecord, ...]
    revoked_chassis: tuple[str, ...]
    sha256: dict[int, str]

    @property
    def signing(self) -> AuthorityRecord:
        """The authority that signs now."""
        return self.cluster.signing_authority()

    @property
    def crls_pem(self) -> tuple[bytes, ...]:
        """The lists, as nodes get them."""
        return tuple(record.crl_pem for record in self.crls)


def plan_rollover_renewal(state: TrustState, client: CertificateRecord) -> datetime | None:
    """When a node renews because its authority no longer signs; None if it need not.

    In SWITCH the nodes' places in the wave come from their names. In RETIRE the wave is over: who
    was away renews at once.
    """
    if client.authority_id == state.signing.authority_id:
        return None
    since = state.trust.phase_since
    if state.trust.phase is Phase.SWITCH:
        return plan_wave(since, state.trust.wave, renewal_fraction(client.chassis))
    return since


def build_watch_answer(
    state: TrustState,
    client: CertificateRecord,
    held_seconds: float,
    expired_chassis: tuple[str, ...] = (),
) -> WatchAnswer:
    """What a node is told."""
    return WatchAnswer(
        generation=state.trust.generation,
        trust_bundle_pem=state.cluster.trust_bundle_pem,
        crls_pem=state.crls_pem,
        revoked_chassis=state.revoked_chassis,
        renew_from=state.sha256[state.signing.authority_id],
        renew_after=plan_rollover_renewal(state, client),
        held_seconds=round(held_seconds, 3),
        expired_chassis=expired_chassis,
        settings=state.cluster.settings,
    )
