"""Certificate revocation lists: one for each authority, complete, numbered, signed (RFC 5280 §5).

Decides what stands on a CRL and when a new one is made; signs it. No clock, no store.

    content   every revoked certificate of the authority until `KEPT_AFTER_END` behind its end:
              RFC 5280 §3.3 wants an entry on one list that is made after the certificate ended;
              a clock that is wrong by less than that takes no entry away
    number    grows with every list of an authority and never comes back (§5.2.3)
    time      thisUpdate is `CLOCK_SKEW` early, as certificates are; nextUpdate is `VALIDITY` later,
              and a list is replaced after `REFRESH`, so that a node keeps a current list while the
              operator is away for three weeks
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from geneveil.pki.authority import CLOCK_SKEW, Authority
from geneveil.pki.keys import is_deterministic, signature_hash

VALIDITY = timedelta(days=30)
REFRESH = timedelta(days=7)
KEPT_AFTER_END = timedelta(days=300) + REFRESH
"""More than the leap of a clock that is believed at once (`operator.clock_leap.LEAP`): once it is
set right, what it took off the lists would be good again."""


class RevocationReason(Enum):
    """Why a certificate was revoked: the words of RFC 5280 §5.3.1 that fit a node.

    `certificateHold` is left out: it can be taken back, and a revocation here is for good.
    """

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"


@dataclass(frozen=True)
class RevokedCertificate:
    """One entry.

    Attributes:
        serial: 40 hexadecimal digits.
        not_after: when the certificate would have ended.
    """

    serial: str
    revoked_at: datetime
    not_after: datetime
    reason: RevocationReason


@dataclass(frozen=True)
class CrlState:
    """What is known of the newest list of an authority.

    Attributes:
        number: its CRL number; 0 if there is no list yet.
        serials: what stands on it.
    """

    number: int
    this_update: datetime
    next_update: datetime
    serials: frozenset[str]


def list_entries(
    revoked: Iterable[RevokedCertificate], now: datetime
) -> tuple[RevokedCertificate, ...]:
    """What stands on a list made now, by serial."""
    kept = (entry for entry in revoked if now < entry.not_after + KEPT_AFTER_END)
    return tuple(sorted(kept, key=lambda entry: entry.serial))


def explain_new_crl(
    state: CrlState | None,
    entries: Iterable[RevokedCertificate],
    now: datetime,
    authority_begins: datetime,
) -> str:
    """Say why an authority needs a new list; empty if the one it has will do.

    An entry that is only gone because its time is over is no reason: the regular list drops it.
    Nor is a list that cannot be valid yet, because its authority is not: another one could not be
    either.
    """
    if state is None:
        return "there is none yet"
    if {entry.serial for entry in entries} - state.serials:
        return "a certificate was revoked"
    if now < state.this_update and state.this_update > authority_begins:
        return "it is not valid yet"
    if now >= state.this_update + REFRESH:
        return "a week has passed"
    return ""


def make_crl(
    authority: Authority, number: int, entries: Iterable[RevokedCertificate], now: datetime
) -> x509.CertificateRevocationList:
    """Make and sign a list. Also of an authority that has ended: the list does no harm then."""
    issuer = authority.certificate
    issuer_ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    begin = max(now - CLOCK_SKEW, issuer.not_valid_before_utc)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(begin)
        .next_update(begin + VALIDITY)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_ski),
            critical=False,
        )
    )
    for entry in entries:
        builder = builder.add_revoked_certificate(_encode_entry(entry))
    key = authority.key
    return builder.sign(key, signature_hash(key), ecdsa_deterministic=is_deterministic(key))


def encode_crl(crl: x509.CertificateRevocationList) -> bytes:
    """The list as PEM."""
    return crl.public_bytes(serialization.Encoding.PEM)


def read_crl_state(crl_pem: bytes) -> CrlState:
    """What a list of ours says.

    Raises:
        ValueError: it can't be read, has no number or no nextUpdate.
    """
    crl = x509.load_pem_x509_crl(crl_pem)
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        raise ValueError("the CRL has no number") from None
    if crl.next_update_utc is None:
        raise ValueError("the CRL does not say when the next one is due")
    return CrlState(
        number=number,
        this_update=crl.last_update_utc,
        next_update=crl.next_update_utc,
        serials=frozenset(f"{entry.serial_number:040x}" for entry in crl),
    )


def _encode_entry(entry: RevokedCertificate) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(int(entry.serial, 16))
        .revocation_date(entry.revoked_at)
    )
    if entry.reason is not RevocationReason.UNSPECIFIED:  # §5.3.1: absent rather than unspecified
        flag = x509.ReasonFlags(_FLAGS[entry.reason])
        builder = builder.add_extension(x509.CRLReason(flag), critical=False)
    return builder.build()


_FLAGS = {
    RevocationReason.KEY_COMPROMISE: "keyCompromise",
    RevocationReason.AFFILIATION_CHANGED: "affiliationChanged",
    RevocationReason.SUPERSEDED: "superseded",
    RevocationReason.CESSATION_OF_OPERATION: "cessationOfOperation",
    RevocationReason.PRIVILEGE_WITHDRAWN: "privilegeWithdrawn",
}
