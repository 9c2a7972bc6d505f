"""Which Debian archive a host's apt settings lead to."""

import pytest

from lab.build.archive import (
    KEYRING,
    Source,
    choose_sources,
    fetch_options,
    parse_deb822,
    parse_one_line,
    write_deb822,
)
from lab.build.errors import HostError

BOOKWORM = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /keys/debian.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
"""

EMBEDDED_KEY = """\
Types: deb
URIs: https://mirror.example/debian
Suites: trixie
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBFSomeKey
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_deb822_gives_an_entry_for_each_suite() -> None:
    found = parse_deb822(BOOKWORM)
    assert [(s.uri, s.suite) for s in found] == [
        ("http://mirror.example/debian", "bookworm"),
        ("http://mirror.example/debian", "bookworm-updates"),
        ("http://mirror.example/debian-security", "bookworm-security"),
    ]
    assert found[0].components == ("main", "contrib")
    assert found[0].signed_by == "/keys/debian.gpg"
    assert found[2].signed_by == ""


@pytest.mark.parametrize(
    "off",
    [
        BOOKWORM.replace("Components: main contrib", "Components: main\nEnabled: no"),
        BOOKWORM.replace("Types: deb deb-src", "Types: deb-src"),
    ],
)
def test_deb822_leaves_out_what_is_off_or_without_binaries(off: str) -> None:
    assert [s.suite for s in parse_deb822(off)] == ["bookworm-security"]


def test_one_line_style() -> None:
    text = """\
# deb http://old.example/debian buster main
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64 signed-by=/keys/debian.gpg] http://mirror.example/debian bookworm main contrib
deb http://mirror.example/debian bookworm-updates main # trailing
deb broken
"""
    assert parse_one_line(text) == [
        Source("http://mirror.example/debian", "bookworm", ("main", "contrib"), "/keys/debian.gpg"),
        Source("http://mirror.example/debian", "bookworm-updates", ("main",), ""),
    ]


def test_bookworm_host_leads_to_trixie_at_the_same_archives() -> None:
    chosen = choose_sources(parse_deb822(BOOKWORM))
    assert chosen == [
        Source("http://mirror.example/debian", "trixie", ("main",), "/keys/debian.gpg"),
        Source("http://mirror.example/debian", "trixie-updates", ("main",), "/keys/debian.gpg"),
        Source("http://mirror.example/debian-security", "trixie-security", ("main",), KEYRING),
    ]


def test_host_without_security_gets_none() -> None:
    only_main = parse_one_line("deb http://mirror.example/debian trixie main")
    assert [s.suite for s in choose_sources(only_main)] == ["trixie"]


def test_old_name_of_a_security_suite_is_known() -> None:
    text = "deb http://m.example/d bullseye main\ndeb http://s.example/s bullseye-security main"
    assert [s.suite for s in choose_sources(parse_one_line(text))] == ["trixie", "trixie-security"]


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("nothing", ""),
        ("Ubuntu", "deb http://mirror.example/ubuntu noble main universe"),
        ("another project's packages", "deb http://vendor.example/apt nodistro main"),
        ("Debian without main", "deb http://mirror.example/debian bookworm contrib"),
        ("security alone", "deb http://mirror.example/debian-security bookworm-security main"),
    ],
)
def test_host_without_debian_is_told_what_to_set(host: str, text: str) -> None:
    with pytest.raises(HostError, match="GENEVEIL_DEBIAN_ARCHIVE"):
        choose_sources(parse_one_line(text))


def test_an_archive_that_a_person_chose_is_used_alone() -> None:
    chosen = choose_sources(parse_deb822(BOOKWORM), "http://chosen.example/debian")
    assert chosen == [Source("http://chosen.example/debian", "trixie", ("main",), KEYRING)]


@pytest.mark.parametrize("text", [BOOKWORM, EMBEDDED_KEY])
def test_written_sources_read_back_the_same(text: str) -> None:
    chosen = choose_sources(parse_deb822(text))
    assert parse_deb822(write_deb822(chosen)) == chosen


def test_only_how_to_fetch_is_taken_from_the_host() -> None:
    dump = """\
APT::Architecture "amd64";
Acquire "";
Acquire::http "";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::CaInfo "/etc/ssl/own.pem";
Acquire::Check-Valid-Until "false";
Acquire::cdrom::mount "/media/cdrom/";
Acquire::IndexTargets::deb::Packages::MetaKey "x";
Acquire::Languages:: "de";
DPkg::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";
"""
    assert fetch_options(dump).splitlines() == [
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::https::CaInfo "/etc/ssl/own.pem";',
        'Acquire::Check-Valid-Until "false";',
        'Acquire::Languages "none";',
    ]
