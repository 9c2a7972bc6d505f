"""Locked files: opened with the passphrase alone, and only as what they are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geneveil.model.errors import TrustError
from geneveil.operator.backup import BackupContent, decode_backup, encode_backup
from geneveil.pki.envelope import MAGIC, is_sealed, open_bytes, seal_bytes

RANDOM = bytes(range(28))
SEALED = seal_bytes(b"content", b"pass", "backup", RANDOM)


def test_round() -> None:
    assert is_sealed(SEALED)
    assert b"content" not in SEALED
    assert open_bytes(SEALED, b"pass", "backup", "x") == b"content"


@pytest.mark.parametrize(
    ("data", "passphrase", "purpose", "words"),
    [
        (SEALED, b"other", "backup", "can't be unlocked"),
        (SEALED, b"pass", "authority key", "is not a authority key"),
        (SEALED[:-1], b"pass", "backup", "can't be unlocked"),
        (SEALED[:20], b"pass", "backup", "is not a sealed file"),
        (b"", b"pass", "backup", "is not a sealed file"),
        (SEALED.replace(b"65536", b"99999"), b"pass", "backup", "is not a backup"),
        (SEALED.replace(b"65536", b"16777216"), b"pass", "backup", "is not a backup"),
        (SEALED.replace(b'"r": 8', b'"r": 9'), b"pass", "backup", "is not a backup"),
        (SEALED.replace(b"65536", b"32768"), b"pass", "backup", "can't be unlocked"),
    ],
)
def test_what_is_refused(data: bytes, passphrase: bytes, purpose: str, words: str) -> None:
    with pytest.raises(TrustError, match=words):
        open_bytes(data, passphrase, purpose, "x")


@settings(max_examples=8, deadline=None)
@given(st.integers(0, len(SEALED) - 1), st.integers(1, 255))
def test_every_changed_byte_is_noticed(position: int, change: int) -> None:
    data = bytearray(SEALED)
    data[position] ^= change
    with pytest.raises(TrustError):
        open_bytes(bytes(data), b"pass", "backup", "x")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_sealed_file(data: bytes) -> None:
    with pytest.raises(TrustError):
        open_bytes(MAGIC + data, b"pass", "backup", "x")


def test_backups() -> None:
    content = BackupContent(b"database", (("ca-1.key", b"one"), ("ca-2.key", b"two")))
    data = encode_backup(content, b"pass", RANDOM)
    assert decode_backup(data, b"pass", "x") == content
    assert "one" not in repr(content)
    strange = encode_backup(BackupContent(b"d", (("../evil", b""),)), b"pass", RANDOM)
    with pytest.raises(TrustError, match="no operator's state"):
        decode_backup(strange, b"pass", "x")
    with pytest.raises(TrustError, match="no operator's state"):
        decode_backup(seal_bytes(b"no tar", b"pass", "backup", RANDOM), b"pass", "x")
