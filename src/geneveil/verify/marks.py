"""Marks: the 16 bytes that make a probe recognisable on the wire.

Each begins with one fixed magic, so that a frame is searched once, whatever the number of probes.
A payload that repeats a mark may begin and end in the middle of one; any whole mark in it counts.
A payload of at least 31 bytes of a repeated mark holds a whole one wherever it begins; `ping -p`
overwrites the first 16 bytes with a time, so give it 47 bytes or more.
"""

import hashlib
import re

MARK_MAGIC = bytes.fromhex("f547560b")  # not UTF-8, so that no text can hold it
MARK_BYTES = 16

_MARK = re.compile(re.escape(MARK_MAGIC) + rb"[\x00-\xff]{12}", re.DOTALL)


def make_mark(run: bytes, name: str) -> bytes:
    """The mark of the probe called `name` in one run of the lab.

    Args:
        run: at least 8 random bytes, new for each run, so that marks of two runs differ.
        name: what tells probes of a run apart; phase and probe id together are enough.
    """
    if len(run) < 8:
        raise ValueError("the run's seed must be at least 8 bytes")
    digest = hashlib.sha256(run + b"\0" + name.encode()).digest()
    return MARK_MAGIC + digest[: MARK_BYTES - len(MARK_MAGIC)]


def find_marks(data: bytes) -> frozenset[bytes]:
    """Every different whole mark in some bytes; strays that are nobody's mark included."""
    if MARK_MAGIC not in data:
        return frozenset()
    return frozenset(_MARK.findall(data))
