"""What programs say, and what people are told."""

import pytest

from lab.build.diagnosis import meaning_of, says_disk_full

SAID = [
    ("Temporary failure resolving 'mirror.example'", "network"),
    (
        "Could not connect to 127.0.0.1:9. - connect (111: Connection refused)",
        "network",
    ),
    ("WARNING: Retrying after connection broken by 'NewConnectionError('", "network"),
    ("W: GPG error: … NO_PUBKEY 6ED0E7B82643E131", "debian-archive-keyring"),
    ("E: Release file for http://m.example/InRelease is not valid yet", "clock"),
    ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one"),
    ("E: Unable to locate package linux-source-6.12", "trixie"),
]


@pytest.mark.parametrize(("line", "told"), SAID)
def test_known_words_have_a_meaning(line: str, told: str) -> None:
    assert told in meaning_of(["Reading package lists...", line, "E: it ended"])


def test_other_words_have_none() -> None:
    assert meaning_of(["net/core/dev.c:1:1: error: expected ';'"]) == ""
    assert meaning_of([]) == ""


def test_a_full_disk_is_known_by_any_program() -> None:
    assert says_disk_full(["tar: usr/x: Cannot write: No space left on device", "tar: exiting"])
    assert says_disk_full(["OSError: [Errno 122] Disk quota exceeded"])
    assert not says_disk_full(["all is well"])
