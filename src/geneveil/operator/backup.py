"""A whole operator in one file, locked with a passphrase.

    content   a tar: operator.db (one consistent copy) and the key of each authority of the bundle,
              as it is on the disk (a key that is locked stays locked, inside)
    file      `geneveil.pki.envelope`, purpose "backup"

Only names that belong to a state are taken from a backup, as plain files; the content was
authenticated before it is looked at.
"""

import io
import re
import tarfile
from dataclasses import dataclass

from geneveil.model.errors import TrustError
from geneveil.pki.envelope import open_bytes, seal_bytes

PURPOSE = "backup"
DATABASE_NAME = "operator.db"
_KEY_NAME = re.compile(r"ca-[0-9]{1,6}\.key")


@dataclass(frozen=True)
class BackupContent:
    """What is in a backup. `repr` shows none of it.

    Attributes:
        keys: (file name, bytes).
    """

    database: bytes
    keys: tuple[tuple[str, bytes], ...]

    def __repr__(self) -> str:
        return f"BackupContent({len(self.database)} bytes, {len(self.keys)} keys)"


def encode_backup(content: BackupContent, passphrase: bytes, randomness: bytes) -> bytes:
    """Pack and lock; see `geneveil.pki.envelope.seal_bytes` for the randomness."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in ((DATABASE_NAME, content.database), *content.keys):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o600
            archive.addfile(member, io.BytesIO(data))
    return seal_bytes(packed.getvalue(), passphrase, PURPOSE, randomness)


def decode_backup(data: bytes, passphrase: bytes, name: str) -> BackupContent:
    """Unlock and unpack.

    Raises:
        TrustError: no backup, changed, or another passphrase; nothing is accepted in part.
    """
    packed = open_bytes(data, passphrase, PURPOSE, name)
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                known = member.name == DATABASE_NAME or _KEY_NAME.fullmatch(member.name)
                if file is None or not known or member.name in found:
                    raise TrustError(f"{name} holds something that is no operator's state")
                found[member.name] = file.read()
    except tarfile.TarError:
        raise TrustError(f"{name} holds no operator's state") from None
    if DATABASE_NAME not in found:
        raise TrustError(f"{name} holds no database")
    keys = tuple(sorted((key, value) for key, value in found.items() if key != DATABASE_NAME))
    return BackupContent(found[DATABASE_NAME], keys)
