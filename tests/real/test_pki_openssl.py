"""OpenSSL's own program judges the certificates that we make."""

import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from geneveil.model.cluster import CalendarSpan, KeyType
from geneveil.pki.authority import (
    encode_certificate,
    make_authority,
    sign_node,
    sign_operator,
)
from geneveil.pki.keys import build_request, make_key

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not shutil.which("openssl"), reason="the program openssl is missing"),
]

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout + done.stderr


@pytest.mark.parametrize("key_type", list(KeyType))
def test_openssl_verifies_the_chain(key_type: KeyType, tmp_path: Path) -> None:
    authority = make_authority("prod", make_key(key_type), CalendarSpan(120), NOW, os.urandom(20))
    node = sign_node(
        authority,
        make_key(key_type).public_key(),
        "node-1",
        "prod",
        CalendarSpan(60),
        NOW,
        os.urandom(20),
    )
    names = ("geneveil-operator", "192.0.2.10")
    key = make_key(KeyType.ECDSA_P256).public_key()
    server = sign_operator(authority, key, names, "prod", CalendarSpan(12), NOW, os.urandom(20))
    for name, certificate in (
        ("ca", authority.certificate),
        ("node", node),
        ("server", server),
    ):
        (tmp_path / name).write_bytes(encode_certificate(certificate))

    def verify(leaf: str, purpose: str, at: datetime) -> str:
        trusted = ["-no-CApath", "-no-CAstore", "-CAfile", str(tmp_path / "ca")]
        when = ["-attime", str(int(at.timestamp()))]
        return openssl(
            "verify", "-x509_strict", *trusted, *when, "-purpose", purpose, str(tmp_path / leaf)
        )

    for purpose in ("sslserver", "sslclient"):
        assert verify("node", purpose, NOW).endswith("OK\n")
        assert verify("node", purpose, NOW.replace(year=2031, month=11, day=22)).endswith("OK\n")
    assert verify("server", "sslserver", NOW).endswith("OK\n")
    for leaf, purpose, at in (
        ("server", "sslclient", NOW),
        ("node", "sslserver", NOW.replace(year=2032)),
        ("node", "sslserver", NOW.replace(year=2025)),
    ):
        with pytest.raises(AssertionError, match="verification failed"):
            verify(leaf, purpose, at)


@pytest.mark.parametrize("key_type", list(KeyType))
def test_openssl_reads_the_request(key_type: KeyType, tmp_path: Path) -> None:
    (tmp_path / "csr").write_bytes(build_request(make_key(key_type), "node-1"))
    text = openssl("req", "-verify", "-noout", "-text", "-in", str(tmp_path / "csr"))
    assert "verify OK" in text
    assert "Subject: CN = node-1" in text or "Subject: CN=node-1" in text
    assert "DNS:node-1" in text
