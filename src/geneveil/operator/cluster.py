"""An initialised cluster as the operator sees it: what was sealed, and who is trusted."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from geneveil.model.cluster import CalendarSpan, ClusterSettings, parse_span
from geneveil.model.errors import TrustError
from geneveil.model.names import OPERATOR_IDENTITY
from geneveil.operator.config import ClusterIPsec, to_settings
from geneveil.operator.records import AuthorityRecord
from geneveil.pki.keyfiles import NamedBytes, parse_certificate


@dataclass(frozen=True)
class SealedCluster:
    """The sealed configuration and the trust bundle.

    Attributes:
        authorities: of the trust bundle, oldest first; empty when IPsec is off.
        retired: authorities that left it: nobody trusts them, but a node that was away may still
            show a certificate of one, and is to be told what is the matter.
    """

    config: ClusterIPsec
    authorities: tuple[AuthorityRecord, ...]
    retired: tuple[AuthorityRecord, ...] = ()

    @property
    def settings(self) -> ClusterSettings:
        """What every node is told."""
        return to_settings(self.config)

    @property
    def rotate_after(self) -> CalendarSpan | None:
        """When an authority is followed by another, as configured; None for the rule."""
        text = self.config.spec.certificates.ca_rotate_after
        return None if text is None else parse_span(text)

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

    def serving_authority(self, now: datetime) -> AuthorityRecord:
        """The authority of the operator's own certificate, and of join tokens: the oldest of the
        bundle that has not ended, so that a node that was away knows it.

        Raises:
            TrustError: there is none at all.
        """
        for record in self.authorities:
            if now < authority_end(record):
                return record
        return self.signing_authority()


@lru_cache(maxsize=64)
def authority_certificate(record: AuthorityRecord) -> x509.Certificate:
    """The certificate of an authority."""
    name = f"the certificate of authority {record.authority_id}"
    return parse_certificate(NamedBytes(name, record.certificate_pem))


def authority_end(record: AuthorityRecord) -> datetime:
    """When it ends."""
    return authority_certificate(record).not_valid_after_utc


def authority_sha256(record: AuthorityRecord) -> str:
    """How nodes name it: SHA-256 of the certificate (DER), 64 hexadecimal digits."""
    return authority_certificate(record).fingerprint(hashes.SHA256()).hex()
