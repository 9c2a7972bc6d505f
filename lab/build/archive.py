"""Finds Debian's archive among the machine's own apt settings. Pure: texts in, sources out.

The lab's guests are Debian trixie, whatever the host is. We name no archive of our own: a machine
that reaches its archive through a mirror or a proxy must reach trixie the same way.

Source: sources.list(5), both the one-line and the deb822 style.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lab.build.errors import HostError

SUITE = "trixie"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_DEBIAN_SUITES = frozenset(
    {
        *("bullseye", "bookworm", "trixie", "forky", "duke"),
        *("oldoldstable", "oldstable", "stable", "testing", "sid", "unstable"),
    }
)
_UPDATES = "-updates"
_SECURITY = "-security"


@dataclass(frozen=True)
class Source:
    """One entry of apt's settings. `signed_by` is a path, a key's text, or empty."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str

    @property
    def release(self) -> str:
        """The suite without its `-updates` and the like: bookworm."""
        return self.suite.strip("/").split("/")[0].split("-")[0]


def parse_deb822(text: str) -> list[Source]:
    """Entries of a `.sources` file; without those switched off or without binaries."""
    found = []
    for stanza in _stanzas(text):
        if stanza.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        if "deb" not in stanza.get("types", "").split():
            continue
        components = tuple(stanza.get("components", "").split())
        found += [
            Source(uri, suite, components, stanza.get("signed-by", ""))
            for uri in stanza.get("uris", "").split()
            for suite in stanza.get("suites", "").split()
        ]
    return found


def parse_one_line(text: str) -> list[Source]:
    """Entries of a `.list` file: `deb [signed-by=…] URI SUITE COMPONENT…`."""
    found = []
    for line in text.splitlines():
        words = line.split("#")[0].replace("[", " [ ").replace("]", " ] ").split()
        if not words or words.pop(0) != "deb":
            continue
        options: dict[str, str] = {}
        if words and words[0] == "[" and "]" in words:
            end = words.index("]")
            options = dict(word.partition("=")[::2] for word in words[1:end])
            words = words[end + 1 :]
        if len(words) >= 2:
            found.append(Source(words[0], words[1], tuple(words[2:]), options.get("signed-by", "")))
    return found


def choose_sources(sources: Iterable[Source], override_uri: str = "") -> list[Source]:
    """What to take trixie from: the host's main Debian archive, with its updates and security.

    Updates and security are taken only if the host takes its own from somewhere.

    Args:
        sources: all entries of the host, in its order.
        override_uri: an archive that a person chose; only this is used then.
    Raises:
        HostError: the host's settings name no Debian archive.
    """
    if override_uri:
        return [Source(override_uri, SUITE, ("main",), KEYRING)]
    debian = [s for s in sources if "main" in s.components and s.release in _DEBIAN_SUITES]
    chosen = []
    for suffix in ("", _UPDATES, _SECURITY):
        for source in debian:
            if source.suite.partition("/")[0] == source.release + suffix:
                signed_by = source.signed_by or KEYRING
                chosen.append(Source(source.uri, SUITE + suffix, ("main",), signed_by))
                break
    if not chosen or chosen[0].suite != SUITE:
        raise HostError(
            "no Debian archive in this machine's apt settings",
            why="the lab's guests are made from Debian trixie's packages",
            remedy="set GENEVEIL_DEBIAN_ARCHIVE to the address of a Debian archive and install the "
            "package debian-archive-keyring",
        )
    return chosen


def write_deb822(sources: Iterable[Source]) -> str:
    """The text of a `.sources` file."""
    return "\n".join(
        f"Types: deb\nURIs: {s.uri}\nSuites: {s.suite}\nComponents: {' '.join(s.components)}\n"
        + _signed_by(s.signed_by)
        for s in sources
    )


def fetch_options(apt_config_dump: str) -> str:
    """Of the host's whole apt configuration, what says how to fetch: proxies, certificates, dates.

    Everything else stays out: hooks of the host's packages, its folders, its index targets.
    """
    kept = [
        line
        for line in apt_config_dump.splitlines()
        if line.startswith("Acquire::")
        and not line.startswith(("Acquire::IndexTargets", "Acquire::cdrom", "Acquire::Languages"))
        and not line.endswith(' "";')
    ]
    return "\n".join([*kept, 'Acquire::Languages "none";']) + "\n"


def _signed_by(value: str) -> str:
    if not value:
        return ""
    if "\n" not in value:
        return f"Signed-By: {value}\n"
    # A key given as text: continuation lines begin with a space, an empty line is a dot.
    lines = [line if line.strip() else "." for line in value.strip("\n").split("\n")]
    return "Signed-By:\n" + "".join(f" {line.strip()}\n" for line in lines)


def _stanzas(text: str) -> list[Mapping[str, str]]:
    stanzas: list[dict[str, str]] = [{}]
    name = ""
    for line in text.splitlines():
        if not line.strip():
            stanzas.append({})
        elif line.startswith("#"):
            continue
        elif line[0] in " \t":
            stanzas[-1][name] += "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            stanzas[-1][name] = value.strip()
    return [stanza for stanza in stanzas if stanza]
