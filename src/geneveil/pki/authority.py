"""The cluster's certificate authority, and the certificates that it signs.

Profiles (RFC 5280 §4.2; RFC 4945 §5.1 for IKE):

    authority  self-signed, 10 calendar years; CA:TRUE pathlen 0 (critical); keyCertSign and
               cRLSign (critical); SKI
    node       5 calendar years; CN and SAN dNSName are the chassis name; digitalSignature
               (critical); EKU ipsecIKE, serverAuth, clientAuth; CA:FALSE (critical); SKI, AKI
    operator   the same as a node, but: its own names and addresses; EKU serverAuth alone, so
               that it can be no peer

No certificate outlives its authority, and none begins before it. Nothing is copied from a request
but its public key. Subjects put the common name first: Open vSwitch's own IPsec monitor reads a
common name only where something follows it, so the cluster's name follows as the organisation.

Certificates begin `CLOCK_SKEW` before they are made, because nodes' clocks differ; the lifetime
counts from that beginning.
"""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from geneveil.model.cluster import CalendarSpan
from geneveil.model.errors import TrustError
from geneveil.pki.keys import PrivateKey, PublicKey, is_deterministic, signature_hash
from geneveil.pki.spans import add_span

CLOCK_SKEW = timedelta(minutes=5)
SERIAL_BYTES = 20

IPSEC_IKE = ObjectIdentifier("1.3.6.1.5.5.7.3.17")
"""id-kp-ipsecIKE (RFC 4945 §5.1.3.12)."""

_NODE_USAGES = (IPSEC_IKE, ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
_OPERATOR_USAGES = (ExtendedKeyUsageOID.SERVER_AUTH,)


@dataclass(frozen=True)
class Authority:
    """A CA that can sign. `repr` shows no key."""

    certificate: x509.Certificate
    key: PrivateKey


@dataclass(frozen=True)
class Grant:
    """What a certificate is to say, apart from the key.

    Attributes:
        common_name: the first part of the subject.
        organisation: the cluster's name.
        names: the SAN, at least one.
        usages: extended key usages.
        lifetime: from the beginning; cut at the authority's end.
    """

    common_name: str
    organisation: str
    names: tuple[x509.GeneralName, ...]
    usages: tuple[ObjectIdentifier, ...]
    lifetime: CalendarSpan


def make_serial(randomness: bytes) -> int:
    """Turn 20 random bytes into a serial number: positive, 159 bits, 157 of them random.

    The second-highest bit is always set, so that the number is never short; the highest never is,
    so that it is positive in 20 octets (RFC 5280 §4.1.2.2).
    """
    if len(randomness) != SERIAL_BYTES:
        raise ValueError(f"a serial needs {SERIAL_BYTES} random bytes, not {len(randomness)}")
    return (int.from_bytes(randomness) >> 2) | 1 << 158


def serial_text(serial: int) -> str:
    """A serial number as it is stored and shown: 40 hexadecimal digits."""
    return f"{serial:040x}"


def make_authority(
    cluster: str, key: PrivateKey, lifetime: CalendarSpan, now: datetime, randomness: bytes
) -> Authority:
    """Make a self-signed authority.

    Its common name holds the first digits of its key identifier, so that an old and a new
    authority of one cluster have different names during a roll-over.
    """
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _subject(f"geneveil IPsec CA {identifier.digest.hex()[:8]}", cluster)
    begin = now - CLOCK_SKEW
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(make_serial(randomness))
        .not_valid_before(begin)
        .not_valid_after(add_span(begin, lifetime))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
    )
    certificate = builder.sign(key, signature_hash(key), ecdsa_deterministic=is_deterministic(key))
    return Authority(certificate, key)


def sign_node(
    authority: Authority,
    public_key: PublicKey,
    chassis: str,
    cluster: str,
    lifetime: CalendarSpan,
    now: datetime,
    randomness: bytes,
) -> x509.Certificate:
    """Sign a node's certificate; the request was checked before.

    Raises:
        TrustError: the authority is not valid now.
    """
    grant = Grant(chassis, cluster, (x509.DNSName(chassis),), _NODE_USAGES, lifetime)
    return _sign(authority, public_key, grant, now, randomness)


def sign_operator(
    authority: Authority,
    public_key: PublicKey,
    names: tuple[str, ...],
    cluster: str,
    lifetime: CalendarSpan,
    now: datetime,
    randomness: bytes,
) -> x509.Certificate:
    """Sign the operator's own server certificate; `names[0]` becomes its common name.

    Raises:
        TrustError: the authority is not valid now.
    """
    sans = tuple(_general_name(name) for name in names)
    return _sign(
        authority,
        public_key,
        Grant(names[0], cluster, sans, _OPERATOR_USAGES, lifetime),
        now,
        randomness,
    )


def encode_certificate(certificate: x509.Certificate) -> bytes:
    """The certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pin(key: PublicKey) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo: what a join token says about the authority."""
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    digest = hashes.Hash(hashes.SHA256())
    digest.update(spki)
    return digest.finalize()


def _sign(
    authority: Authority, public_key: PublicKey, grant: Grant, now: datetime, randomness: bytes
) -> x509.Certificate:
    issuer = authority.certificate
    _check_valid_now(issuer, now)
    begin = max(now - CLOCK_SKEW, issuer.not_valid_before_utc)
    end = min(add_span(begin, grant.lifetime), issuer.not_valid_after_utc)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    issuer_ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(grant.common_name, grant.organisation))
        .issuer_name(issuer.subject)
        .public_key(public_key)
        .serial_number(make_serial(randomness))
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(grant.usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(grant.names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_ski),
            critical=False,
        )
    )
    key = authority.key
    return builder.sign(key, signature_hash(key), ecdsa_deterministic=is_deterministic(key))


def _check_valid_now(issuer: x509.Certificate, now: datetime) -> None:
    if not issuer.not_valid_before_utc <= now < issuer.not_valid_after_utc:
        raise TrustError(
            "the certificate authority is not valid now",
            why=f"it is valid from {issuer.not_valid_before_utc:%Y-%m-%d %H:%M:%SZ} "
            f"to {issuer.not_valid_after_utc:%Y-%m-%d %H:%M:%SZ}, "
            f"and the clock says {now:%Y-%m-%d %H:%M:%SZ}",
            remedy="check the clock of this machine; if it is right: geneveil operator ca rotate",
        )


def _subject(common_name: str, organisation: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
        ]
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
