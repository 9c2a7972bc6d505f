"""The operator's own HTTPS certificate: when a new one is needed, and making it.

It lives a year, and is replaced after two thirds of that; with every start, if the names or the
authority changed. One that the authority's end cut short is not replaced before it ends: another
would end at the same moment.

While the operator's clock is not believed, nodes may go by the right time or, if all clocks leapt,
by the same wrong one: the certificate is then good at both, or a revocation would reach nobody.
"""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from geneveil.model.cluster import CalendarSpan, KeyType
from geneveil.model.errors import TrustError
from geneveil.pki.authority import Authority, encode_certificate, sign_operator
from geneveil.pki.keyfiles import NamedBytes, TrustBundle, find_issuer, parse_certificate
from geneveil.pki.keys import encode_key, make_key
from geneveil.pki.spans import add_span, add_spans

LIFETIME = CalendarSpan(12)


@dataclass(frozen=True)
class ServerIdentity:
    """A fresh key and certificate.

    Attributes:
        pem: both, as the server's file holds them.
    """

    certificate: x509.Certificate
    pem: bytes


@dataclass(frozen=True)
class ServingPeriod:
    """When the server's certificate has to be good.

    Attributes:
        since: what the clock says, or while that is not believed the latest moment that was.
        until: what the clock says; the same as `since` while it is believed, or where no
            certificate of the authority could be good then.
    """

    since: datetime
    until: datetime


def plan_serving(
    authority: x509.Certificate, believed_now: datetime, now: datetime
) -> ServingPeriod:
    """The part of the authority's life in which nodes may ask for the server's certificate."""
    since = max(believed_now, authority.not_valid_before_utc)
    until = now if since < now < authority.not_valid_after_utc else since
    return ServingPeriod(since, until)


def judge_server_file(
    data: bytes | None,
    names: tuple[str, ...],
    authority: x509.Certificate,
    period: ServingPeriod,
) -> str:
    """Say why the server needs a new certificate; empty if it doesn't."""
    if data is None:
        return "there is none yet"
    try:
        certificate = parse_certificate(NamedBytes("the server's certificate", data))
    except TrustError as error:
        return error.what
    if find_issuer(certificate, TrustBundle((authority,))) is None:
        return "another authority signs now"
    if read_names(certificate) != names:
        return "the operator's names changed"
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if period.since < begin:
        return "it is not valid yet"
    if period.until >= end:
        return "it has ended"
    if period.since == period.until and end > add_span(begin, LIFETIME):
        return "it was made while the clock was not believed"
    if end < authority.not_valid_after_utc and period.since >= begin + (end - begin) * 2 / 3:
        return "two thirds of its life have passed"
    return ""


def read_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The names and addresses in the certificate, in order."""
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return tuple(str(name.value) for name in extension.value)


def make_server_identity(
    authority: Authority,
    names: tuple[str, ...],
    cluster: str,
    period: ServingPeriod,
    randomness: bytes,
) -> ServerIdentity:
    """Make a key (ECDSA P-256) and have it certified, for a year from the period's end on.

    Raises:
        TrustError: the authority is not valid now.
    """
    key, since, until = make_key(KeyType.ECDSA_P256), period.since, period.until
    lifetime = LIFETIME
    if since < until:
        months = (until.year - since.year) * 12 + until.month - since.month + 1
        lifetime = add_spans(LIFETIME, CalendarSpan(months))
    certificate = sign_operator(
        authority, key.public_key(), names, cluster, lifetime, since, randomness
    )
    return ServerIdentity(certificate, encode_key(key) + encode_certificate(certificate))
