"""What the certificates say: RFC 5280 profiles, lifetimes, serial numbers."""

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from geneveil.model.cluster import CalendarSpan, KeyType
from geneveil.model.errors import TrustError
from geneveil.pki.authority import (
    CLOCK_SKEW,
    IPSEC_IKE,
    Authority,
    make_authority,
    make_serial,
    sign_node,
    sign_operator,
)
from geneveil.pki.keys import PublicKey, make_key

NOW = datetime(2024, 2, 29, 12, 0, 0, tzinfo=UTC)
TEN_YEARS, FIVE_YEARS = CalendarSpan(120), CalendarSpan(60)
RANDOM = bytes(range(20))


def authority_of(key_type: KeyType = KeyType.ECDSA_P256) -> Authority:
    return make_authority("prod", make_key(key_type), TEN_YEARS, NOW, RANDOM)


def node_of(authority: Authority, now: datetime = NOW, chassis: str = "node-1") -> x509.Certificate:
    key = make_key(KeyType.ECDSA_P256).public_key()
    return sign_node(authority, key, chassis, "prod", FIVE_YEARS, now, RANDOM)


def critical_of(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return {extension.oid for extension in certificate.extensions if extension.critical}


@pytest.mark.parametrize("key_type", list(KeyType))
def test_authority_profile(key_type: KeyType) -> None:
    authority = authority_of(key_type)
    certificate = authority.certificate
    extensions = certificate.extensions
    assert certificate.issuer == certificate.subject
    certificate.verify_directly_issued_by(certificate)
    constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert usage.crl_sign
    assert not (usage.digital_signature or usage.key_encipherment or usage.key_agreement)
    assert critical_of(certificate) == {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE}
    assert certificate.not_valid_before_utc == NOW - CLOCK_SKEW
    assert certificate.not_valid_after_utc == datetime(2034, 2, 28, 11, 55, tzinfo=UTC)
    assert "O=prod" in certificate.subject.rfc4514_string()


def test_authority_keys_are_of_the_kind_asked_for() -> None:
    keys = {kind: authority_of(kind).certificate.public_key() for kind in KeyType}
    p256, p384, rsa_3072 = (keys[kind] for kind in KeyType)
    assert isinstance(p256, ec.EllipticCurvePublicKey)
    assert isinstance(p256.curve, ec.SECP256R1)
    assert isinstance(p384, ec.EllipticCurvePublicKey)
    assert isinstance(p384.curve, ec.SECP384R1)
    assert isinstance(rsa_3072, rsa.RSAPublicKey)
    assert rsa_3072.key_size == 3072


def test_two_authorities_of_one_cluster_have_different_names() -> None:
    assert authority_of().certificate.subject != authority_of().certificate.subject


def test_node_profile() -> None:
    authority = authority_of()
    certificate = node_of(authority)
    extensions = certificate.extensions
    certificate.verify_directly_issued_by(authority.certificate)
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [name.value for name in names] == ["node-1"]
    sans = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(sans) == [x509.DNSName("node-1")]
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not (usage.key_cert_sign or usage.crl_sign or usage.key_encipherment)
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {
        IPSEC_IKE,
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert critical_of(certificate) == {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE}
    issuer_key = authority.certificate.extensions.get_extension_for_class(
        x509.SubjectKeyIdentifier
    ).value.digest
    key_identifier = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert key_identifier.key_identifier == issuer_key
    assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier)


def test_node_lives_five_calendar_years() -> None:
    certificate = node_of(authority_of())
    assert certificate.not_valid_after_utc == datetime(2029, 2, 28, 11, 55, tzinfo=UTC)


def test_node_ends_with_its_authority() -> None:
    authority = authority_of()
    certificate = node_of(authority, NOW + timedelta(days=8 * 365))
    assert certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_node_does_not_begin_before_its_authority() -> None:
    authority = authority_of()
    early = node_of(authority, NOW - CLOCK_SKEW + timedelta(seconds=1))
    assert early.not_valid_before_utc == authority.certificate.not_valid_before_utc


@pytest.mark.parametrize("days", [-1, 3653])
def test_an_authority_signs_only_while_it_is_valid(days: int) -> None:
    with pytest.raises(TrustError, match="not valid now"):
        node_of(authority_of(), NOW + timedelta(days=days))


def test_operator_profile() -> None:
    authority = authority_of()
    key = make_key(KeyType.ECDSA_P256).public_key()
    names = ("geneveil-operator", "central", "192.0.2.10", "2001:db8::1")
    certificate = sign_operator(authority, key, names, "prod", CalendarSpan(12), NOW, RANDOM)
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]
    sans = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(sans) == [
        x509.DNSName("geneveil-operator"),
        x509.DNSName("central"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.10")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
    ]


@pytest.mark.parametrize("randomness", [bytes(20), b"\xff" * 20, bytes(range(20))])
def test_serials_are_positive_and_long(randomness: bytes) -> None:
    serial = make_serial(randomness)
    assert serial > 0
    assert serial.bit_length() == 159


def test_serials_differ_with_their_randomness() -> None:
    assert make_serial(bytes(20)) != make_serial(bytes([4]) + bytes(19))
    with pytest.raises(ValueError, match="random bytes"):
        make_serial(bytes(16))


def test_no_key_shows_in_text() -> None:
    authority = authority_of()
    assert "PRIVATE" not in repr(authority)
    assert isinstance(authority.key.public_key(), PublicKey)
