"""A node's key, certificate and trust bundle: from bytes to values that agree with one another.

Whoever reads the files passes their bytes and their names; every error names the file and what is
wrong with it. Nothing is returned unless all of it holds: key and certificate match, the name is
this chassis', an authority of the bundle signed it, and it is valid now.
"""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from geneveil.model.errors import TrustError
from geneveil.pki.authority import serial_text
from geneveil.pki.keys import PrivateKey

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)


@dataclass(frozen=True)
class TrustBundle:
    """The authorities that this cluster believes, in the order of the file; at least one."""

    authorities: tuple[x509.Certificate, ...]


@dataclass(frozen=True)
class NodeIdentity:
    """A key and a certificate that belong together. `repr` shows no key.

    Attributes:
        serial: 40 hexadecimal digits.
        authority: the one of the bundle that signed the certificate.
    """

    chassis: str
    serial: str
    not_before: datetime
    not_after: datetime
    key: PrivateKey
    certificate: x509.Certificate
    authority: x509.Certificate
    bundle: TrustBundle


@dataclass(frozen=True)
class NamedBytes:
    """What a file holds, and what it is called in messages."""

    name: str
    data: bytes


def parse_private_key(file: NamedBytes) -> PrivateKey:
    """Read a private key: PEM, without a passphrase.

    Raises:
        TrustError: not PEM, not a private key, or of a kind that geneveil does not use.
    """
    _check_pem(file, "a private key")
    try:
        key = serialization.load_pem_private_key(file.data, password=None)
    except _UNREADABLE:
        raise TrustError(f"{file.name} holds no private key that can be read") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TrustError(f"{file.name} holds a key that is neither ECDSA nor RSA")
    return key


def parse_certificate(file: NamedBytes) -> x509.Certificate:
    """Read one certificate: PEM.

    Raises:
        TrustError: not PEM, not a certificate, or more than one.
    """
    certificates = _parse_certificates(file, "a certificate")
    if len(certificates) != 1:
        raise TrustError(f"{file.name} holds {len(certificates)} certificates, not one")
    return certificates[0]


def parse_bundle(file: NamedBytes) -> TrustBundle:
    """Read a trust bundle: one CA certificate or several, PEM.

    Raises:
        TrustError: not PEM, empty, unreadable, or with a certificate that is no CA's.
    """
    certificates = _parse_certificates(file, "a trust bundle")
    for certificate in certificates:
        if not _is_authority(certificate):
            raise TrustError(
                f"{file.name} holds a certificate that is no authority's",
                why=f"its subject is {certificate.subject.rfc4514_string()}",
            )
    return TrustBundle(tuple(certificates))


def parse_identity(
    key: NamedBytes, certificate: NamedBytes, bundle: NamedBytes, chassis: str, now: datetime
) -> NodeIdentity:
    """Read all three and check that they agree with one another, the chassis and the clock.

    Raises:
        TrustError: names the file and what is wrong; the first thing found.
    Fails closed: yes.
    """
    private_key = parse_private_key(key)
    leaf = parse_certificate(certificate)
    trust = parse_bundle(bundle)
    if leaf.public_key() != private_key.public_key():
        raise TrustError(f"{certificate.name} does not match the key in {key.name}")
    _check_name(leaf, certificate.name, chassis)
    authority = find_issuer(leaf, trust)
    if authority is None:
        raise TrustError(
            f"{certificate.name} was not signed by an authority in {bundle.name}",
            why=f"its issuer is {leaf.issuer.rfc4514_string()}",
        )
    _check_dates(leaf, certificate.name, now)
    _check_dates(authority, bundle.name, now)
    return NodeIdentity(
        chassis=chassis,
        serial=serial_text(leaf.serial_number),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        key=private_key,
        certificate=leaf,
        authority=authority,
        bundle=trust,
    )


def find_issuer(leaf: x509.Certificate, bundle: TrustBundle) -> x509.Certificate | None:
    """The authority of the bundle whose key signed the certificate, or None."""
    for authority in bundle.authorities:
        try:
            leaf.verify_directly_issued_by(authority)
        except (*_UNREADABLE, InvalidSignature):
            continue
        return authority
    return None


def _parse_certificates(file: NamedBytes, wanted: str) -> list[x509.Certificate]:
    _check_pem(file, wanted)
    try:
        return x509.load_pem_x509_certificates(file.data)
    except _UNREADABLE:
        raise TrustError(f"{file.name} holds no certificate that can be read") from None


def _check_pem(file: NamedBytes, wanted: str) -> None:
    if b"-----BEGIN " not in file.data:
        why = "it is empty" if not file.data.strip() else "it has no line -----BEGIN …-----"
        raise TrustError(f"{file.name} is not PEM", why=why, remedy=f"it should hold {wanted}")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, *_UNREADABLE):
        return False
    return constraints.value.ca


def _check_name(leaf: x509.Certificate, name: str, chassis: str) -> None:
    common_names = [part.value for part in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        alternative_names = extension.value.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension, *_UNREADABLE):
        alternative_names = []
    if common_names != [chassis] or alternative_names != [chassis]:
        raise TrustError(
            f"{name} is not this chassis' certificate",
            why=f"it names {common_names + alternative_names}, and this chassis is {chassis!r}",
            remedy="if external_ids:system-id was changed on purpose, put a token for the new name "
            "into the token file: geneveil operator token NODE; if not, set it back",
        )


def _check_dates(certificate: x509.Certificate, name: str, now: datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    subject = certificate.subject.rfc4514_string()
    if now < begin:
        raise TrustError(
            f"{name}: the certificate of {subject} is not yet valid",
            why=f"it is valid from {begin:%Y-%m-%d %H:%M:%SZ}, "
            f"and the clock says {now:%Y-%m-%d %H:%M:%SZ}",
            remedy="check the clock of this machine",
        )
    if now > end:
        raise TrustError(
            f"{name}: the certificate of {subject} has expired",
            why=f"it was valid until {end:%Y-%m-%d %H:%M:%SZ}, "
            f"and the clock says {now:%Y-%m-%d %H:%M:%SZ}",
            remedy="enrol the node again with a new token",
        )
