"""Makes certificate signing requests that no honest node makes, and honest ones."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID

AnyKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

P256 = ec.generate_private_key(ec.SECP256R1())


@dataclass
class Forgery:
    """A request, piece by piece; the defaults are what an honest node `node-1` asks."""

    common_names: Sequence[str] = ("node-1",)
    organisation: str = ""
    names: Sequence[x509.GeneralName] | None = field(
        default_factory=lambda: [x509.DNSName("node-1")]
    )
    extensions: Sequence[x509.ExtensionType] = ()
    challenge: bytes = b""
    key: AnyKey = P256

    def der(self) -> bytes:
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in self.common_names]
        if self.organisation:
            subject.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, self.organisation))
        builder = x509.CertificateSigningRequestBuilder(x509.Name(subject))
        if self.names is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName(self.names), critical=False)
        for extension in self.extensions:
            builder = builder.add_extension(extension, critical=True)
        if self.challenge:
            builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, self.challenge)
        algorithm = None if isinstance(self.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        request = builder.sign(self.key, algorithm)
        return request.public_bytes(serialization.Encoding.DER)

    def pem(self) -> str:
        return pem_of(self.der())


def pem_of(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


def with_broken_signature(der: bytes) -> bytes:
    """The last byte belongs to the signature's second number: still well-formed, no longer true."""
    return der[:-1] + bytes([der[-1] ^ 1])


def with_weak_hash(forgery: Forgery) -> bytes:
    """Truly signed by an ECDSA key, but over SHA-224 (RFC 5758 §3.2 has its identifier)."""
    assert isinstance(forgery.key, ec.EllipticCurvePrivateKey)
    body = x509.load_der_x509_csr(forgery.der()).tbs_certrequest_bytes
    signature = forgery.key.sign(body, ec.ECDSA(hashes.SHA224()))
    algorithm = _der(0x30, bytes.fromhex("06082a8648ce3d040301"))
    return _der(0x30, body + algorithm + _der(0x03, b"\0" + signature))


def _der(tag: int, content: bytes) -> bytes:
    length = len(content).to_bytes(2).lstrip(b"\0")
    if length[0] < 128 and len(length) == 1:
        return bytes([tag]) + length + content
    return bytes([tag, 0x80 + len(length)]) + length + content


CA_EXTENSION = x509.BasicConstraints(ca=True, path_length=None)
USAGE_EXTENSION = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
