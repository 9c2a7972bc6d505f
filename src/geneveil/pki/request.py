"""What a certificate signing request says, read once into plain values.

The checks ask these facts, never the request: a request is hostile bytes, and the places where
reading it can fail are all in this file.

Source: RFC 2986 (PKCS #10); RFC 2985 §5.4.2 (extensionRequest).
"""

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from geneveil.pki.keys import PublicKey
from geneveil.pki.reasons import Finding, Reason

MAX_REQUEST_CHARS = 8192
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_FAMILIAR_NAMES = {
    "2.5.29.15": "keyUsage",
    "2.5.29.19": "basicConstraints",
    "2.5.29.30": "nameConstraints",
    "2.5.29.37": "extendedKeyUsage",
    "1.2.840.113549.1.9.7": "challengePassword",
}
_STRONG_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True)
class RequestFacts:
    """What the request says.

    Attributes:
        is_signed_by_its_key: proof that the requester holds the private key, by a strong hash.
        key_family: `ECDSA`, `RSA` or what else the key is called.
        key_bits: its size; of a curve, the size of the field.
        is_curve_known: the curve is a NIST prime curve that IKE can use; True for RSA.
        common_names: every CN, in order.
        subject_extras: subject attributes that are no CN, by name.
        alternative_names: every SAN as (`DNS`|..., value).
        extensions: the other requested extensions, by name.
        attributes: the other attributes, by name.
    """

    is_signed_by_its_key: bool
    key_family: str
    key_bits: int
    is_curve_known: bool
    common_names: tuple[str, ...]
    subject_extras: tuple[str, ...]
    alternative_names: tuple[tuple[str, str], ...]
    extensions: tuple[str, ...]
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class ReadRequest:
    """A request that could be read.

    Attributes:
        facts: what it says.
        der: its exact bytes; the same bytes again are the same request.
        public_key: the key to certify; None if it is of a kind that is never certified.
    """

    facts: RequestFacts
    der: bytes
    public_key: PublicKey | None


def read_request(pem: str) -> ReadRequest | Finding:
    """Read a CSR, or say that it is none.

    Returns:
        A finding `csr-malformed` when any part of it cannot be read.
    Fails closed: yes; what cannot be read is refused.
    """
    if len(pem) > MAX_REQUEST_CHARS or pem.count("-----BEGIN") != 1:
        return _malformed("it is not one PEM block of at most 8192 characters")
    try:
        request = x509.load_pem_x509_csr(pem.encode("ascii"))
        der = request.public_bytes(serialization.Encoding.DER)
        return _gather(request, der)
    except _UNREADABLE as error:
        return _malformed(type(error).__name__)


def _malformed(why: str) -> Finding:
    return Finding(Reason.CSR_MALFORMED, f"the certificate signing request cannot be read ({why})")


def _gather(request: x509.CertificateSigningRequest, der: bytes) -> ReadRequest:
    family, bits, is_known, public_key = _key_facts(request)
    alternative_names, extensions = _extension_facts(request)
    facts = RequestFacts(
        is_signed_by_its_key=_is_signed(request),
        key_family=family,
        key_bits=bits,
        is_curve_known=is_known,
        common_names=tuple(
            str(part.value) for part in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        ),
        subject_extras=tuple(
            part.rfc4514_attribute_name
            for part in request.subject
            if part.oid != NameOID.COMMON_NAME
        ),
        alternative_names=alternative_names,
        extensions=extensions,
        attributes=tuple(
            _familiar_name(attribute.oid)
            for attribute in request.attributes
            if attribute.oid.dotted_string != _EXTENSION_REQUEST
        ),
    )
    return ReadRequest(facts, der, public_key)


def _is_signed(request: x509.CertificateSigningRequest) -> bool:
    try:
        return isinstance(request.signature_hash_algorithm, _STRONG_HASHES) and (
            request.is_signature_valid
        )
    except _UNREADABLE:
        return False


def _key_facts(
    request: x509.CertificateSigningRequest,
) -> tuple[str, int, bool, PublicKey | None]:
    try:
        key = request.public_key()
    except _UNREADABLE:
        return "unsupported", 0, False, None
    if isinstance(key, ec.EllipticCurvePublicKey):
        is_known = isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1)
        return "ECDSA", key.key_size, is_known, key
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA", key.key_size, True, key
    return type(key).__name__.removesuffix("PublicKey"), 0, False, None


def _extension_facts(
    request: x509.CertificateSigningRequest,
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    names: list[tuple[str, str]] = []
    others: list[str] = []
    for extension in request.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            names += [_name_facts(name) for name in extension.value]
        else:
            others.append(_familiar_name(extension.oid))
    return tuple(names), tuple(others)


def _name_facts(name: x509.GeneralName) -> tuple[str, str]:
    kind = "DNS" if isinstance(name, x509.DNSName) else type(name).__name__
    return kind, str(name.value)


def _familiar_name(oid: x509.ObjectIdentifier) -> str:
    return _FAMILIAR_NAMES.get(oid.dotted_string, oid.dotted_string)
