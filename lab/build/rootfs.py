"""The guests' root file system: Debian trixie with Open vSwitch, OVN and strongSwan.

One folder that all guests of all labs mount read-only; so it holds nothing of one machine or one
guest: no host keys, no machine id, no address of an archive. All of it belongs to whoever built it.
"""

import os
from collections.abc import Mapping

from lab.build.apt import host_fetch_options, write_sources
from lab.build.archive import SUITE
from lab.build.cache import Recipe
from lab.build.contain import Contain
from lab.build.meter import Step
from lab.build.workbench import Workbench

PACKAGES = (
    "ca-certificates",
    "charon-systemd",
    "iperf3",
    "iproute2",
    "iputils-ping",
    "libstrongswan-standard-plugins",  # the openssl plugin is among them
    "nftables",
    "openssh-server",
    "openvswitch-switch",
    "ovn-central",
    "ovn-host",
    "procps",
    "python3",
    "strongswan-swanctl",
    "tcpdump",
)
# Where a guest mounts the lab's own files, our programs, their packages and its own disk.
MOUNT_POINTS = ("lab", "opt/geneveil", "opt/site", "disk")
# Read by nobody in a guest.
_UNREAD = (
    "usr/share/doc/*",
    "usr/share/info/*",
    "usr/share/lintian/*",
    "usr/share/locale/*",
    "usr/share/man/*",
)
# Of this machine, or to be made by each guest for itself.
_NOT_SHARED = (
    "dev/*",
    "etc/apt/apt.conf.d/99*",
    "etc/apt/sources.list",
    "etc/apt/sources.list.d/*",
    "etc/hostname",
    "etc/machine-id",
    "etc/openvswitch/.conf.db*",
    "etc/openvswitch/*.conf",
    "etc/openvswitch/conf.db",
    "etc/resolv.conf",
    "etc/ssh/ssh_host_*",
    "var/cache/apt/*",
    "var/lib/apt/lists/*",
    "var/log/*",
)
_NEEDED_MIB = 700
# mmdebstrap writes the tar that this reads: owners and devices need a privilege that we lack.
_EXTRACT = 'set -euo pipefail; root=$1; shift; "$@" | tar -x -C "$root" --no-same-owner {exclude}'


def recipe() -> Recipe:
    """What a root file system is made of. Not the packages' versions: see `kernel.recipe`."""
    return Recipe(
        kind="rootfs",
        title="root file system",
        inputs={
            "suite": SUITE.encode(),
            "packages": " ".join(PACKAGES).encode(),
            "left out": " ".join(_UNREAD + _NOT_SHARED).encode(),
            "mount points": " ".join(MOUNT_POINTS).encode(),
            "machine": os.uname().machine.encode(),
            "recipe": b"1",
        },
        product="root",
        needed_mib=_NEEDED_MIB,
        steps=(Step("install packages", 50), Step("tidy", 1)),
        make=_make,
    )


def _make(bench: Workbench) -> Mapping[str, str]:
    root = bench.folder / "root"
    root.mkdir()
    bench.step("install packages")
    fetch = bench.scratch / "fetch.conf"
    fetch.write_text(host_fetch_options())
    sources = write_sources(bench.scratch)
    excluded = " ".join(f"--exclude='./{pattern}'" for pattern in _NOT_SHARED + _UNREAD)
    bench.run(
        [
            "bash",
            "-c",
            _EXTRACT.format(exclude=excluded),
            "extract",
            str(root),
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            "--format=tar",
            f"--include={','.join(PACKAGES)}",
            f"--aptopt={fetch}",
            *(f"--dpkgopt=path-exclude=/{pattern}" for pattern in _UNREAD),
            SUITE,
            "-",
            str(sources),
        ],
        need=Contain.PACKAGES,
        env={"DEBIAN_FRONTEND": "noninteractive"},
    )
    bench.step("tidy")
    for name in MOUNT_POINTS:
        (root / name).mkdir(parents=True)
    for name in ("etc/machine-id", "etc/hostname", "etc/resolv.conf"):
        (root / name).touch()
    # Guests run as root and need none of these; on the host they would only be a risk.
    bench.run(["find", str(root), "-perm", "/6000", "-exec", "chmod", "ug-s", "{}", "+"])
    return _versions(bench)


def _versions(bench: Workbench) -> Mapping[str, str]:
    """Versions of what we asked for, from the package database that came with it."""
    status = (bench.folder / "root/var/lib/dpkg/status").read_text()
    versions = {}
    for stanza in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if fields.get("Package") in PACKAGES:
            versions[fields["Package"]] = fields.get("Version", "")
    return versions
