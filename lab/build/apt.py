"""Fetches from Debian's archive with apt, in a state folder of its own.

Nothing of the host's apt changes: no list, no cache, no lock, no hook of it is used. Packages are
checked by apt itself against the key that signed the archive.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from lab.build.archive import (
    Source,
    choose_sources,
    fetch_options,
    parse_deb822,
    parse_one_line,
    write_deb822,
)
from lab.build.errors import HostError
from lab.build.workbench import Workbench

_HOST_SETTINGS = Path("/etc/apt")


def host_sources() -> list[Source]:
    """Where this machine takes Debian from, turned to trixie."""
    texts: list[Source] = []
    parts = _HOST_SETTINGS / "sources.list.d"
    for path in [_HOST_SETTINGS / "sources.list", *sorted(parts.glob("*"))]:
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        text = path.read_text(errors="replace")
        texts += parse_deb822(text) if path.suffix == ".sources" else parse_one_line(text)
    return choose_sources(texts, os.environ.get("GENEVEIL_DEBIAN_ARCHIVE", ""))


def host_fetch_options() -> str:
    """How this machine reaches archives, as text of an apt configuration file."""
    try:
        dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise HostError("can't read this machine's apt settings", why=str(error)) from None
    return fetch_options(dump.stdout)


def write_sources(folder: Path) -> Path:
    """Write trixie's sources for a program that takes a file of them."""
    path = folder / "trixie.sources"
    path.write_text(write_deb822(host_sources()))
    return path


class PrivateApt:
    """apt with all of its state below one folder."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self.folder = bench.scratch / "apt"
        for name in ("etc/parts", "lists/partial", "cache/archives/partial"):
            (self.folder / name).mkdir(parents=True)
        write_sources(self.folder / "etc")
        (self.folder / "etc/apt.conf").write_text(
            host_fetch_options()
            + f'Dir::Etc::sourcelist "{self.folder}/etc/trixie.sources";\n'
            + f'Dir::Etc::sourceparts "{self.folder}/etc/parts";\n'
            + f'Dir::Etc::main "{self.folder}/etc/none";\n'
            + f'Dir::Etc::parts "{self.folder}/etc/parts";\n'
            + f'Dir::Etc::preferences "{self.folder}/etc/none";\n'
            + f'Dir::Etc::preferencesparts "{self.folder}/etc/parts";\n'
            + f'Dir::State "{self.folder}";\n'
            + f'Dir::State::lists "{self.folder}/lists";\n'
            + f'Dir::State::status "{self.folder}/status";\n'
            + f'Dir::Cache "{self.folder}/cache";\n'
            # Our folders are ours alone; apt's own fetching user could not enter them.
            + 'APT::Sandbox::User "root";\n'
            # A list that can't be fetched is an error, not a warning about old lists.
            + 'APT::Update::Error-Mode "any";\n'
        )
        (self.folder / "status").touch()

    def update(self) -> None:
        """Fetch and check the lists of packages."""
        self._run("apt-get", "-q", "update")

    def download(self, package: str, on_share: Callable[[float], None]) -> Path:
        """Fetch and check one package; tells the share that has come (0 to 1)."""

        def read(line: str) -> None:
            # apt's status lines: dlstatus:<number>:<percent>:<text>
            words = line.split(":")
            if words[0] == "dlstatus" and len(words) > 2:
                on_share(float(words[2]) / 100)

        self._run("apt-get", "-q", "-o", "APT::Status-Fd=1", "download", package, on_line=read)
        found = sorted(self.folder.glob(f"{package}_*.deb"))
        if len(found) != 1:
            raise HostError(f"apt fetched {len(found)} packages named {package}")
        return found[0]

    def _run(self, *argv: str, on_line: Callable[[str], None] | None = None) -> None:
        env = {"APT_CONFIG": str(self.folder / "etc/apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}
        self._bench.run(argv, cwd=self.folder, env=env, on_line=on_line)
