"""What a program's last words usually mean, for people who don't know the program. Pure."""

import re
from collections.abc import Iterable

_DISK_FULL = re.compile(r"No space left on device|Disk quota exceeded")
# First match wins. What is looked for are the words of apt, pip, mmdebstrap and tar.
_MEANINGS = (
    (
        r"Temporary failure resolving|Could not resolve|Could not connect|NewConnectionError"
        r"|Temporary failure in name resolution|Connection timed out|Network is unreachable"
        r"|ConnectTimeoutError|ReadTimeoutError|connection broken by|Connection failed",
        "the network can't be reached; see that it can, and run this again",
    ),
    (
        r"NO_PUBKEY|EXPKEYSIG|is not signed",
        "the archive's key is not known here; install a newer debian-archive-keyring",
    ),
    (
        r"is not valid yet|Release file .* is expired",
        "this machine's clock, or the archive's mirror, is not of today",
    ),
    (
        r"DO NOT MATCH THE HASHES|Hash Sum mismatch",
        "a fetched file is not the one that was asked for; if it stays so, ask why before going on",
    ),
    (
        r"Unable to locate package|has no installation candidate",
        "the archive has no such package; is it one of Debian's trixie?",
    ),
)


def meaning_of(lines: Iterable[str]) -> str:
    """What to do about it, in words; empty if the lines are not known to mean anything."""
    text = "\n".join(lines)
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, text):
            return meaning
    return ""


def says_disk_full(lines: Iterable[str]) -> bool:
    """Whether a program ended because the disk is full."""
    return any(_DISK_FULL.search(line) for line in lines)
