"""CRLs as a node keeps them: PEM, one of each authority at most. Pure.

A CRL is believed if an authority of the trust bundle signed it. One that is older than another of
the same authority never takes its place: a revocation is not taken back.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from geneveil.model.errors import TrustError
from geneveil.pki.keyfiles import TrustBundle

_END = b"-----END X509 CRL-----"


@dataclass(frozen=True)
class Crl:
    """One list.

    Attributes:
        fingerprint: SHA-256 of the whole list, hexadecimal.
        authority: SHA-256 of the certificate of the authority that signed it, hexadecimal.
        serials: 40 hexadecimal digits each.
    """

    pem: bytes = field(repr=False)
    der: bytes = field(repr=False)
    fingerprint: str
    authority: str
    number: int
    this_update: datetime
    next_update: datetime | None
    serials: frozenset[str] = field(repr=False)


def parse_crls(data: bytes, bundle: TrustBundle, name: str) -> tuple[Crl, ...]:
    """Read the lists; those of authorities that are not in the bundle are left out.

    Raises:
        TrustError: something in there is no CRL, or has no number.
    Fails closed: a list whose signature is wrong is an error, not one list less.
    """
    crls = []
    for part in data.split(_END)[:-1]:
        crl = _parse(part.lstrip() + _END + b"\n", bundle, name)
        if crl is not None:
            crls.append(crl)
    if data.strip() and not data.strip().endswith(_END):
        raise TrustError(f"{name} holds something that is no CRL")
    return tuple(crls)


def salvage_crls(data: bytes, bundle: TrustBundle) -> tuple[Crl, ...]:
    """What is whole in a file that is not."""
    crls: list[Crl] = []
    for part in data.split(_END)[:-1]:
        try:
            crls += parse_crls(part + _END, bundle, "crls.pem")
        except TrustError:
            continue
    return tuple(crls)


def merge_crls(held: Iterable[Crl], news: Iterable[Crl]) -> tuple[Crl, ...]:
    """The newest list of each authority, by authority."""
    newest: dict[str, Crl] = {}
    for crl in (*held, *news):
        before = newest.get(crl.authority)
        if before is None or crl.number > before.number:
            newest[crl.authority] = crl
    return tuple(newest[authority] for authority in sorted(newest))


def _parse(pem: bytes, bundle: TrustBundle, name: str) -> Crl | None:
    try:
        crl = x509.load_pem_x509_crl(pem)
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        issuers = [a for a in bundle.authorities if a.subject == crl.issuer]
        signer = next((a for a in issuers if _signed(crl, a)), None)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
        raise TrustError(f"{name} holds a CRL that cannot be read", why=str(error)) from None
    if not issuers:
        return None
    if signer is None:
        raise TrustError(
            f"{name} holds a CRL whose signature is wrong",
            why=f"its issuer is {crl.issuer.rfc4514_string()}",
        )
    der = crl.public_bytes(serialization.Encoding.DER)
    own = signer.public_bytes(serialization.Encoding.DER)
    return Crl(
        pem=pem,
        der=der,
        fingerprint=sha256(der).hexdigest(),
        authority=sha256(own).hexdigest(),
        number=number,
        this_update=crl.last_update_utc,
        next_update=crl.next_update_utc,
        serials=frozenset(f"{entry.serial_number:040x}" for entry in crl),
    )


def _signed(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    key = authority.public_key()
    return crl.is_signature_valid(key)  # type: ignore[arg-type]  # an authority's is EC or RSA
