"""Bytes locked with a passphrase: the authority's key at rest, and backups.

    geneveil-sealed-1\\n
    {"purpose": …, "n": …, "r": 8, "p": 1, "salt": hex, "nonce": hex}\\n
    AES-256-GCM of the content; the two lines before are authenticated with it

The key comes from the passphrase by scrypt (RFC 7914). The purpose keeps one kind of file from
being taken for another. Salt and nonce come in as arguments and must never be used twice.
"""

import json
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from geneveil.model.errors import TrustError

MAGIC = b"geneveil-sealed-1\n"
SALT_BYTES, NONCE_BYTES = 16, 12
WORK = 2**16
"""scrypt's n: 64 MiB and a fifth of a second for each guess."""

_MOST_WORK = 2**18
_MAX_HEADER_BYTES = 512


@dataclass(frozen=True)
class _Header:
    purpose: str
    work: int
    salt: bytes
    nonce: bytes


def is_sealed(data: bytes) -> bool:
    """Say whether these bytes are locked."""
    return data.startswith(MAGIC)


def seal_bytes(content: bytes, passphrase: bytes, purpose: str, randomness: bytes) -> bytes:
    """Lock bytes.

    Args:
        randomness: `SALT_BYTES + NONCE_BYTES` fresh random bytes.
    """
    salt, nonce = randomness[:SALT_BYTES], randomness[SALT_BYTES:]
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"needs {SALT_BYTES + NONCE_BYTES} random bytes")
    fields = {
        "purpose": purpose,
        "n": WORK,
        "r": 8,
        "p": 1,
        "salt": salt.hex(),
        "nonce": nonce.hex(),
    }
    head = MAGIC + json.dumps(fields).encode() + b"\n"
    return head + AESGCM(_derive(passphrase, salt, WORK)).encrypt(nonce, content, head)


def open_bytes(data: bytes, passphrase: bytes, purpose: str, name: str) -> bytes:
    """Unlock bytes.

    Args:
        name: of the file, for messages.
    Raises:
        TrustError: not locked by us, of another purpose, changed, or another passphrase.
    Fails closed: yes.
    """
    end = data.find(b"\n", len(MAGIC), len(MAGIC) + _MAX_HEADER_BYTES) + 1
    if not is_sealed(data) or not end:
        raise TrustError(f"{name} is not a sealed file of geneveil")
    header = _parse_header(data[len(MAGIC) : end])
    if header is None or header.purpose != purpose:
        raise TrustError(f"{name} is not a {purpose} of geneveil, or it was changed")
    key = _derive(passphrase, header.salt, header.work)
    try:
        return AESGCM(key).decrypt(header.nonce, data[end:], data[:end])
    except InvalidTag:
        raise TrustError(
            f"{name} can't be unlocked", why="the passphrase is another one, or it was changed"
        ) from None


def _parse_header(line: bytes) -> _Header | None:
    try:
        fields = json.loads(line)
        if (fields["r"], fields["p"]) != (8, 1) or type(fields["n"]) is not int:
            return None
        header = _Header(
            purpose=str(fields["purpose"]),
            work=fields["n"],
            salt=bytes.fromhex(fields["salt"]),
            nonce=bytes.fromhex(fields["nonce"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
    is_power = header.work > 1 and header.work & (header.work - 1) == 0
    if not is_power or header.work > _MOST_WORK:
        return None
    if len(header.salt) != SALT_BYTES or len(header.nonce) != NONCE_BYTES:
        return None
    return header


def _derive(passphrase: bytes, salt: bytes, work: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=work, r=8, p=1).derive(passphrase)
