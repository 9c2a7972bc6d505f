"""A node's files: every way in which they can be wrong, and the message that says so."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from geneveil.model.cluster import CalendarSpan, KeyType
from geneveil.model.errors import TrustError
from geneveil.pki.authority import encode_certificate, make_authority, sign_node
from geneveil.pki.keyfiles import NamedBytes, NodeIdentity, parse_identity
from geneveil.pki.keys import encode_key, make_key

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SPAN = CalendarSpan(60)
KEY, OTHER_KEY = make_key(KeyType.ECDSA_P256), make_key(KeyType.ECDSA_P256)
CA = make_authority("prod", make_key(KeyType.ECDSA_P256), CalendarSpan(120), NOW, bytes(20))
OTHER_CA = make_authority("prod", make_key(KeyType.ECDSA_P256), CalendarSpan(120), NOW, bytes(20))
LEAF = encode_certificate(
    sign_node(CA, KEY.public_key(), "node-1", "prod", SPAN, NOW, bytes(range(20)))
)
BUNDLE = encode_certificate(CA.certificate)
OTHER_BUNDLE = encode_certificate(OTHER_CA.certificate)


def read(
    key: bytes = encode_key(KEY),
    leaf: bytes = LEAF,
    bundle: bytes = BUNDLE,
    chassis: str = "node-1",
    now: datetime = NOW,
) -> NodeIdentity:
    return parse_identity(
        NamedBytes("key.pem", key),
        NamedBytes("cert.pem", leaf),
        NamedBytes("ca.pem", bundle),
        chassis,
        now,
    )


def test_good_files() -> None:
    identity = read(bundle=OTHER_BUNDLE + BUNDLE)
    assert identity.chassis == "node-1"
    assert identity.authority == CA.certificate
    assert len(identity.bundle.authorities) == 2
    assert len(identity.serial) == 40
    assert "PRIVATE" not in repr(identity)


WRONG: dict[str, tuple[Callable[[], NodeIdentity], str]] = {
    "key empty": (lambda: read(key=b""), "key.pem is not PEM: it is empty"),
    "key is DER": (lambda: read(key=b"\x30\x82"), "key.pem is not PEM"),
    "key is a certificate": (lambda: read(key=LEAF), "key.pem holds no private key"),
    "key cut": (lambda: read(key=encode_key(KEY)[:80]), "key.pem holds no private key"),
    "key of another": (
        lambda: read(key=encode_key(OTHER_KEY)),
        "cert.pem does not match the key in key.pem",
    ),
    "certificate not PEM": (lambda: read(leaf=b"hello"), "cert.pem is not PEM"),
    "certificate is a key": (
        lambda: read(leaf=encode_key(KEY)),
        "cert.pem holds no certificate",
    ),
    "two certificates": (lambda: read(leaf=LEAF * 2), "cert.pem holds 2 certificates"),
    "bundle not PEM": (lambda: read(bundle=b"\n"), "ca.pem is not PEM: it is empty"),
    "bundle holds a node": (lambda: read(bundle=LEAF), "ca.pem holds a certificate that is no"),
    "bundle of another": (
        lambda: read(bundle=OTHER_BUNDLE),
        "cert.pem was not signed by an authority in ca.pem",
    ),
    "another chassis": (
        lambda: read(chassis="node-2"),
        "cert.pem is not this chassis' certificate",
    ),
    "expired": (
        lambda: read(now=NOW + timedelta(days=5 * 366)),
        "has expired: it was valid until 2031-11-23 11:55:00Z",
    ),
    "not yet valid": (
        lambda: read(now=NOW - timedelta(days=1)),
        "is not yet valid: it is valid from 2026-11-23 11:55:00Z",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files(case: str) -> None:
    attempt, message = WRONG[case]
    with pytest.raises(TrustError) as caught:
        attempt()
    assert message in caught.value.render()
    assert "PRIVATE KEY" not in caught.value.render()
