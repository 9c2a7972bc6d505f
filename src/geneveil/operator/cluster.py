"""An initialised cluster as the operator sees it: what was sealed, and who is trusted."""

from dataclasses import dataclass

from geneveil.model.cluster import ClusterSettings
from geneveil.model.errors import TrustError
from geneveil.model.names import OPERATOR_IDENTITY
from geneveil.operator.config import ClusterIPsec, to_settings
from geneveil.operator.records import AuthorityRecord


@dataclass(frozen=True)
class SealedCluster:
    """The sealed configuration and the trust bundle.

    Attributes:
        authorities: oldest first; empty when IPsec is off.
    """

    config: ClusterIPsec
    authorities: tuple[AuthorityRecord, ...]

    @property
    def settings(self) -> ClusterSettings:
        """What every node is told."""
        return to_settings(self.config)

    @property
    def trust_bundle_pem(self) -> bytes:
        """Every authority that nodes believe."""
        return b"".join(record.certificate_pem for record in self.authorities)

    @property
    def server_names(self) -> tuple[str, ...]:
        """The names in the operator's own certificate; the first is what agents check."""
        return (OPERATOR_IDENTITY, *self.config.spec.operator.names)

    def signing_authority(self) -> AuthorityRecord:
        """The authority that signs now.

        Raises:
            TrustError: there is none.
        """
        for record in self.authorities:
            if record.is_signing:
                return record
        raise TrustError("this cluster has no certificate authority that signs")
