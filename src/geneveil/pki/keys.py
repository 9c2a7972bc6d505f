"""Keys of authorities and nodes, and the request that a node makes with its key.

Making a key draws from the operating system's randomness, the only function here that is not
repeatable. A request is signed deterministically (RFC 6979 for ECDSA; RSA PKCS #1 v1.5 is so by
itself): the same key and name give the same bytes, so a node whose answer was lost can ask again
with its key alone and is given the same certificate.
"""

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from geneveil.model.cluster import KeyType

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

RSA_PUBLIC_EXPONENT = 65537

_CURVES: dict[KeyType, type[ec.SECP256R1] | type[ec.SECP384R1]] = {
    KeyType.ECDSA_P256: ec.SECP256R1,
    KeyType.ECDSA_P384: ec.SECP384R1,
}


def make_key(key_type: KeyType) -> PrivateKey:
    """Make a new private key."""
    if key_type is KeyType.RSA_3072:
        return rsa.generate_private_key(RSA_PUBLIC_EXPONENT, 3072)
    return ec.generate_private_key(_CURVES[key_type]())


def key_type_of(key: object) -> KeyType:
    """The kind of a public key; that of no kind that is used here counts as the default."""
    if isinstance(key, rsa.RSAPublicKey):
        return KeyType.RSA_3072
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1):
        return KeyType.ECDSA_P384
    return KeyType.ECDSA_P256


def encode_key(key: PrivateKey) -> bytes:
    """The key as PKCS #8 PEM without a passphrase: for a file that only its owner can read."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """The hash that is as strong as the key: SHA-384 with P-384, else SHA-256 (RFC 5480 §4)."""
    is_p384 = isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size >= 384
    return hashes.SHA384() if is_p384 else hashes.SHA256()


def is_deterministic(key: PrivateKey) -> bool | None:
    """What the X.509 builders want to hear: RFC 6979 for ECDSA, nothing for RSA."""
    return True if isinstance(key, ec.EllipticCurvePrivateKey) else None


def build_request(key: PrivateKey, chassis: str) -> bytes:
    """Make a node's certificate signing request, as PEM.

    Asks for the one name, as common name and as SAN dNSName, and for nothing else: usage and
    lifetime are the operator's to decide.
    """
    builder = x509.CertificateSigningRequestBuilder(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, chassis)])
    ).add_extension(x509.SubjectAlternativeName([x509.DNSName(chassis)]), critical=False)
    request = builder.sign(key, signature_hash(key), ecdsa_deterministic=is_deterministic(key))
    return request.public_bytes(serialization.Encoding.PEM)
