"""What the operator remembers of authorities and certificates, and what their state is now.

Tokens are in `geneveil.pki.tokens`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from geneveil.enroll.port import WatchState
from geneveil.pki.rollover import Phase


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
        retired_at: when it left the trust bundle; None while it is in it.
    """

    authority_id: int
    certificate_pem: bytes
    is_signing: bool
    created_at: datetime
    retired_at: datetime | None = None


@dataclass(frozen=True)
class CertificateRecord:
    """One certificate that was issued.

    Attributes:
        serial: 40 hexadecimal digits.
        key_sha256: the pin of its public key.
        csr_sha256: of the request that it answers; empty for the operator's own.
        predecessor: serial of the certificate that proved the node; empty after a join token.
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
    csr_sha256: bytes = b""
    predecessor: str = ""


class Standing(Enum):
    """What was said about a chassis; most chassis have none."""

    REVOKED = "revoked"
    REMOVED = "removed"
    READMITTED = "readmitted"


@dataclass(frozen=True)
class NodeRecord:
    """A chassis that was revoked or removed at least once.

    Attributes:
        reason: of RFC 5280 §5.3.1, as in the CRL.
    """

    chassis: str
    standing: Standing
    reason: str
    changed_at: datetime

    @property
    def is_shut_out(self) -> bool:
        """It may not enrol, renew or watch."""
        return self.standing is not Standing.READMITTED


@dataclass(frozen=True)
class TrustRecord:
    """The one row about the cluster's trust that grows and never goes back.

    Attributes:
        generation: of all that nodes are told.
        epoch: how often this state was restored from a backup, counted from 1.
        phase_since: when the phase began; 1970 if there was never another.
        phase_reason: why it began.
        requested_at: when a person asked for a roll-over that has not begun; else None.
    """

    generation: int
    epoch: int
    phase: Phase
    phase_since: datetime
    phase_reason: str
    wave: timedelta
    requested_at: datetime | None


@dataclass(frozen=True)
class Confirmation:
    """What a node said last about itself.

    Attributes:
        state: as it said it.
    """

    chassis: str
    state: WatchState
    seen_at: datetime


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
