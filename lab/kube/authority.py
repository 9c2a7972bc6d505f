"""The API server's own certificate authority and the key that signs service-account tokens.

It has nothing to do with geneveil's authority: this one stands in for the cluster's installer.
"""

import datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from lab.kube.arguments import SERVICE_ADDRESS, Layout

# Scenarios move their nodes' clocks on by ten years and more; this server's clock stays.
_LIFETIME = datetime.timedelta(days=25 * 365)
# A lab's nodes may have clocks that are set back.
_BACKDATED = datetime.timedelta(days=1)
_SERVICE_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")


def write_authority(layout: Layout, now: datetime.datetime) -> None:
    """Make CA and token key in `layout.pki`, unless they are there; and a new server certificate.

    The address may be another one than the last time.
    """
    if not (layout.pki / "ca.crt").exists():
        _make_authority(layout.pki, now)
    key = _new_key()
    addresses = {layout.address, SERVICE_ADDRESS, "127.0.0.1"}
    names = x509.SubjectAlternativeName(
        [
            *(x509.IPAddress(ip_address(address)) for address in sorted(addresses)),
            *(x509.DNSName(name) for name in (*_SERVICE_NAMES, *layout.names)),
        ]
    )
    authority, signer = _load_authority(layout.pki)
    builder = _builder(_name("kube-apiserver", ()), authority.subject, key.public_key(), now)
    builder = builder.add_extension(names, critical=False)
    certificate = _for_use(builder, ExtendedKeyUsageOID.SERVER_AUTH).sign(signer, SHA256())
    (layout.pki / "server.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    write_private(layout.pki / "server.key", _pem(key))


def issue_client(
    pki: Path, user: str, groups: tuple[str, ...], now: datetime.datetime
) -> tuple[bytes, bytes]:
    """A client's certificate and key as PEM; the API server takes user and groups from it.

    Source: the X.509 client certificates of Kubernetes' authentication: CN is the user, every O a
    group.
    """
    authority, signer = _load_authority(pki)
    key = _new_key()
    builder = _builder(_name(user, groups), authority.subject, key.public_key(), now)
    certificate = _for_use(builder, ExtendedKeyUsageOID.CLIENT_AUTH).sign(signer, SHA256())
    return certificate.public_bytes(Encoding.PEM), _pem(key)


def make_token_key(pki: Path) -> None:
    """A new key that signs service-account tokens; there may be one before it."""
    tokens = _new_key()
    write_private(pki / "service-accounts.key", _pem(tokens))
    public = tokens.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (pki / "service-accounts.pub").write_bytes(public)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    path.write_bytes(content)


def _make_authority(pki: Path, now: datetime.datetime) -> None:
    pki.mkdir(mode=0o700, parents=True, exist_ok=True)
    key, name = _new_key(), _name("lab-kubernetes-ca", ())
    certificate = (
        _builder(name, name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, SHA256())
    )
    write_private(pki / "ca.key", _pem(key))
    make_token_key(pki)
    # Last: its presence says that all is there.
    (pki / "ca.crt").write_bytes(certificate.public_bytes(Encoding.PEM))


def _load_authority(pki: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    authority = x509.load_pem_x509_certificate((pki / "ca.crt").read_bytes())
    signer = load_pem_private_key((pki / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)  # noqa: S101  we wrote it
    return authority, signer


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFETIME)
    )


def _for_use(builder: x509.CertificateBuilder, usage: ObjectIdentifier) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str, organizations: tuple[str, ...]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o) for o in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
