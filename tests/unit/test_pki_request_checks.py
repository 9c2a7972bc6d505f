"""Every reason for which a certificate signing request is refused, on real requests."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from geneveil.model.cluster import KeyType
from geneveil.pki.keys import build_request, make_key
from geneveil.pki.reasons import Finding
from geneveil.pki.request import ReadRequest, RequestFacts, read_request
from geneveil.pki.request_checks import (
    REQUEST_CHECKS,
    RequestTerms,
    check_key_strength,
    judge_request,
)
from tests.forgery import (
    CA_EXTENSION,
    P256,
    USAGE_EXTENSION,
    Forgery,
    pem_of,
    with_broken_signature,
    with_weak_hash,
)

TERMS = RequestTerms("node-1", KeyType.ECDSA_P256)
RSA_TERMS = replace(TERMS, key_type=KeyType.RSA_3072)
P384_TERMS = replace(TERMS, key_type=KeyType.ECDSA_P384)


def ec_key(curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve)


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def facts_of(pem: str) -> RequestFacts:
    request = read_request(pem)
    assert isinstance(request, ReadRequest), request
    return request.facts


def reasons_of(pem: str, terms: RequestTerms) -> list[str]:
    return [finding.reason.value for finding in judge_request(facts_of(pem), terms)]


@pytest.mark.parametrize(
    ("key_type", "terms"),
    [
        (KeyType.ECDSA_P256, TERMS),
        (KeyType.ECDSA_P384, TERMS),
        (KeyType.ECDSA_P384, P384_TERMS),
        (KeyType.RSA_3072, RSA_TERMS),
    ],
)
def test_an_honest_request_passes(key_type: KeyType, terms: RequestTerms) -> None:
    pem = build_request(make_key(key_type), "node-1").decode()
    assert reasons_of(pem, terms) == []


def test_the_same_key_asks_with_the_same_bytes() -> None:
    for key_type in KeyType:
        key = make_key(key_type)
        assert build_request(key, "node-1") == build_request(key, "node-1")


REFUSED: dict[str, tuple[Callable[[], Forgery], RequestTerms, list[str]]] = {
    "another common name": (
        lambda: Forgery(common_names=["node-2"]),
        TERMS,
        ["csr-common-name"],
    ),
    "common name in other letter case": (
        lambda: Forgery(common_names=["Node-1"]),
        TERMS,
        ["csr-common-name"],
    ),
    "no common name": (lambda: Forgery(common_names=[]), TERMS, ["csr-common-name"]),
    "two common names": (
        lambda: Forgery(common_names=["node-1", "node-2"]),
        TERMS,
        ["csr-common-name"],
    ),
    "an organisation": (lambda: Forgery(organisation="x"), TERMS, ["csr-subject"]),
    "no alternative name": (lambda: Forgery(names=None), TERMS, ["csr-alternative-name"]),
    "an extra alternative name": (
        lambda: Forgery(names=[x509.DNSName("node-1"), x509.DNSName("node-2")]),
        TERMS,
        ["csr-alternative-name"],
    ),
    "a wildcard": (
        lambda: Forgery(names=[x509.DNSName("*")]),
        TERMS,
        ["csr-alternative-name"],
    ),
    "the right name as a mail address": (
        lambda: Forgery(names=[x509.RFC822Name("node-1")]),
        TERMS,
        ["csr-alternative-name"],
    ),
    "wants to be an authority": (
        lambda: Forgery(extensions=[CA_EXTENSION]),
        TERMS,
        ["csr-extension"],
    ),
    "wants another usage": (
        lambda: Forgery(extensions=[USAGE_EXTENSION]),
        TERMS,
        ["csr-extension"],
    ),
    "a challenge password": (lambda: Forgery(challenge=b"x"), TERMS, ["csr-attribute"]),
    "a weak curve": (
        lambda: Forgery(key=ec_key(ec.SECP224R1())),
        TERMS,
        ["csr-key-type", "csr-key-weak"],
    ),
    "a curve of another family": (
        lambda: Forgery(key=ec_key(ec.SECP256K1())),
        TERMS,
        ["csr-key-type"],
    ),
    "too small a curve": (lambda: Forgery(), P384_TERMS, ["csr-key-weak"]),
    "RSA where ECDSA is asked for": (
        lambda: Forgery(key=rsa_key(3072)),
        TERMS,
        ["csr-key-type"],
    ),
    "RSA 1024": (lambda: Forgery(key=rsa_key(1024)), RSA_TERMS, ["csr-key-weak"]),
    "RSA 2048": (lambda: Forgery(key=rsa_key(2048)), RSA_TERMS, ["csr-key-weak"]),
    "Ed25519": (
        lambda: Forgery(key=ed25519.Ed25519PrivateKey.generate()),
        TERMS,
        ["csr-key-type", "csr-signature"],
    ),
    "another node's key": (
        Forgery,
        replace(TERMS, key_holder="node-9"),
        ["csr-key-in-use"],
    ),
    "everything at once": (
        lambda: Forgery(
            common_names=["node-2"],
            organisation="x",
            names=None,
            extensions=[CA_EXTENSION],
            challenge=b"x",
        ),
        TERMS,
        [
            "csr-common-name",
            "csr-subject",
            "csr-alternative-name",
            "csr-extension",
            "csr-attribute",
        ],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_forged_request_is_refused(case: str) -> None:
    forge, terms, reasons = REFUSED[case]
    assert reasons_of(forge().pem(), terms) == reasons


def test_a_broken_signature_is_refused() -> None:
    pem = pem_of(with_broken_signature(Forgery().der()))
    assert reasons_of(pem, TERMS) == ["csr-signature"]


def test_a_weak_hash_is_refused_though_the_signature_is_true() -> None:
    request = read_request(pem_of(with_weak_hash(Forgery())))
    assert isinstance(request, ReadRequest)
    assert not request.facts.is_signed_by_its_key


def test_a_request_signed_by_another_key_is_refused() -> None:
    ours, theirs = Forgery().der(), Forgery(key=ec_key(ec.SECP256R1())).der()
    spki = P256.public_key()
    assert isinstance(spki, ec.EllipticCurvePublicKey)
    point_bytes = 65
    start = ours.index(b"\x03\x42\x00\x04") + 3
    other = theirs.index(b"\x03\x42\x00\x04") + 3
    stolen = theirs[:other] + ours[start : start + point_bytes] + theirs[other + point_bytes :]
    assert "csr-signature" in reasons_of(pem_of(stolen), TERMS)


def test_an_absurdly_large_key_is_refused() -> None:
    facts = replace(facts_of(Forgery().pem()), key_family="RSA", key_bits=16384)
    finding = check_key_strength(facts, RSA_TERMS)
    assert finding is not None
    assert finding.reason.value == "csr-key-type"


def test_every_check_can_find_something() -> None:
    seen = set()
    for forge, terms, _ in REFUSED.values():
        facts = facts_of(forge().pem())
        seen |= {check.__name__ for check in REQUEST_CHECKS if check(facts, terms)}
    assert seen == {check.__name__ for check in REQUEST_CHECKS}


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "hello",
        "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n",
        pem_of(b"\x30\x03\x02\x01\x00"),
        pem_of(Forgery().der()[:-10]),
        Forgery().pem() * 2,
        "x" * 10_000,
        Forgery().pem().replace("REQUEST", "BANANA"),
    ],
)
def test_what_is_no_request_is_malformed(pem: str) -> None:
    finding = read_request(pem)
    assert isinstance(finding, Finding)
    assert finding.reason.value == "csr-malformed"


def test_text_from_a_request_is_shown_escaped() -> None:
    facts = facts_of(Forgery(common_names=["a\x1b[31m\nb" + "c" * 50]).pem())
    messages = " ".join(finding.message for finding in judge_request(facts, TERMS))
    assert messages.isprintable()
    assert messages.isascii()


MANGLED = Forgery(organisation="x").der()


@given(st.data())
def test_mangled_requests_never_raise(data: st.DataObject) -> None:
    der = bytearray(MANGLED)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    request = read_request(pem_of(bytes(der)))
    if isinstance(request, ReadRequest):
        judge_request(request.facts, TERMS)
