"""A lock file read for the guests' Python, whichever Python runs this."""

import pytest

from lab.build.errors import BuildError
from lab.build.locked import Pin, pins_for_guests
from lab.build.site import LOCK

HASH = "sha256:" + "0" * 64


def test_pins_with_their_hashes() -> None:
    one = f"one==1.0 \\\n    --hash={HASH} \\\n    --hash={HASH[:-1]}1\n"
    lock = f"{one}# comment\ntwo==2 \\\n    --hash={HASH}\n"
    assert pins_for_guests(lock) == [
        Pin("one", "1.0", (HASH, HASH[:-1] + "1")),
        Pin("two", "2", (HASH,)),
    ]
    assert pins_for_guests(lock)[1].line() == f"two==2 --hash={HASH}"


@pytest.mark.parametrize(
    ("condition", "needed"),
    [
        ("python_version < '3.13'", False),
        ("python_full_version >= '3.13'", True),
        ("sys_platform == 'win32'", False),
        ("platform_python_implementation != 'PyPy'", True),
        ("implementation_name == 'pypy' or os_name == 'posix'", True),
    ],
)
def test_conditions_are_judged_for_the_guests(condition: str, needed: bool) -> None:
    lock = f"one==1.0 ; {condition} \\\n    --hash={HASH}\n"
    assert bool(pins_for_guests(lock)) is needed


@pytest.mark.parametrize("line", ["one>=1.0 \\\n    --hash=" + HASH, "one==1.0", "./local"])
def test_a_loose_requirement_is_refused(line: str) -> None:
    with pytest.raises(BuildError, match="no version or no hash"):
        pins_for_guests(line + "\n")


def test_our_lock_has_what_the_agent_imports() -> None:
    names = {pin.name for pin in pins_for_guests(LOCK.read_text())}
    assert {"cryptography", "ovs", "vici", "typer", "rich"} <= names
    assert "colorama" not in names  # for another system
