"""Reads kernel configurations and finds what a build did not do as asked. Pure."""

import re

from lab.build.errors import BuildError

_SET = re.compile(r"^(CONFIG_\w+)=(.*)$")


def parse_config(text: str) -> dict[str, str]:
    """Options that are set, with their values; an option that is not set is not there."""
    return {m[1]: m[2] for line in text.splitlines() if (m := _SET.match(line.strip()))}


def parse_wanted(text: str) -> dict[str, str]:
    """Our fragment: `CONFIG_NAME=y`, or `=n` for an option that must not be set.

    Raises:
        BuildError: a line is neither an option, a comment nor empty; or an option comes twice.
    """
    wanted: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.split("#")[0].strip()
        if not bare:
            continue
        match = _SET.match(bare)
        if not match or match[1] in wanted:
            why = f"named twice: {match[1]}" if match else f"not an option: {bare}"
            raise BuildError(f"lab/kernel.config, line {number}", why=why)
        wanted[match[1]] = match[2]
    return wanted


def check_config(wanted: dict[str, str], observed: dict[str, str]) -> list[str]:
    """What the kernel's configuration system dropped or forced without a word, one line each."""
    return [
        f"{name}: wanted {value}, is {observed.get(name, 'n')}"
        for name, value in sorted(wanted.items())
        if observed.get(name, "n") != value
    ]
