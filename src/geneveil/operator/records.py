"""What the operator remembers of authorities and certificates, and what their state is now.

Tokens are in `geneveil.pki.tokens`.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Kind(Enum):
    """Whose certificate it is."""

    NODE = "node"
    OPERATOR = "operator"


class Status(Enum):
    """What a certificate is worth now."""

    VALID = "valid"
    RENEWAL_DUE = "renewal-due"
    REPLACED = "replaced"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    REVOKED = "revoked"


@dataclass(frozen=True)
class AuthorityRecord:
    """One authority of the trust bundle.

    Attributes:
        authority_id: counted from 1; names the key file `ca-<id>.key`.
        is_signing: new certificates come from it; exactly one is.
    """

    authority_id: int
    certificate_pem: bytes
    is_signing: bool
    created_at: datetime


@dataclass(frozen=True)
class CertificateRecord:
    """One certificate that was issued.

    Attributes:
        serial: 40 hexadecimal digits.
        key_sha256: the pin of its public key.
        revoked_at: None while it is not revoked.
    """

    serial: str
    kind: Kind
    chassis: str
    authority_id: int
    certificate_pem: bytes
    key_sha256: bytes
    issued_at: datetime
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None = None
    revocation_reason: str = ""


def judge_status(
    record: CertificateRecord, newest_serial: str, renewal_due: datetime, now: datetime
) -> Status:
    """Decide what a certificate is worth now.

    Args:
        newest_serial: of the certificate issued last to the same holder.
    """
    if record.revoked_at is not None:
        return Status.REVOKED
    if now > record.not_after:
        return Status.EXPIRED
    if record.serial != newest_serial:
        return Status.REPLACED
    if now < record.not_before:
        return Status.NOT_YET_VALID
    return Status.RENEWAL_DUE if now >= renewal_due else Status.VALID
