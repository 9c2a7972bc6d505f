"""The artifacts that are really there: what guests will find in them."""

import os
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from lab.build import Artifacts, ensure, status
from lab.build.contain import Contain, contained
from lab.build.kernel import FRAGMENT
from lab.build.kernel_config import check_config, parse_config, parse_wanted
from lab.build.rootfs import MOUNT_POINTS

# PEP 552: the second word of a .pyc says how it is checked; 1 is "by hash, and not at run time".
UNCHECKED_HASH = 1
IN_GUEST = (
    'mount --bind "$2" "$1/opt/geneveil"; mount --bind "$3" "$1/opt/site"; root=$1; shift 3; '
    'PYTHONPATH=/opt/geneveil:/opt/site exec chroot "$root" /usr/bin/python3 "$@"'
)


@pytest.fixture(scope="module")
def built() -> Artifacts:
    return ensure()


@pytest.fixture
def fresh(built: Artifacts) -> Artifacts:
    """As `built`, but of this moment: somebody may edit our programs while the tests run."""
    return ensure()


def _guest_python(built: Artifacts, *arguments: str) -> str:
    """Run the guests' Python as a guest would, without booting one."""
    folders = (str(built.rootfs), str(built.code), str(built.site))
    line = ["bash", "-euc", IN_GUEST, "guest", *folders, *arguments]
    held = contained(line, Contain.ROOT, is_root=os.geteuid() == 0)
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    ended = subprocess.run(held, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_what_is_built_is_found_again_without_any_program(
    fresh: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert ensure() == fresh


def test_the_kernel_runs_and_is_configured_as_asked(built: Artifacts) -> None:
    version = subprocess.run(
        [built.kernel, "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("6.12.")
    observed = parse_config((built.kernel.parent / "config").read_text())
    assert check_config(parse_wanted(FRAGMENT.read_text()), observed) == []


@pytest.mark.parametrize(
    "program",
    [
        "usr/bin/ip",
        "usr/bin/ovn-controller",
        "usr/bin/ovn-northd",
        "usr/bin/ovs-vsctl",
        "usr/bin/ping",
        "usr/bin/python3",
        "usr/bin/tcpdump",
        "usr/bin/iperf3",
        "usr/sbin/charon-systemd",
        "usr/sbin/nft",
        "usr/lib/openvswitch-switch/ovs-vswitchd",
        "usr/sbin/sshd",
        "usr/sbin/swanctl",
        "usr/lib/ipsec/plugins/libstrongswan-openssl.so",
        "usr/lib/ipsec/plugins/libstrongswan-vici.so",
        "etc/ssl/certs/ca-certificates.crt",
    ],
)
def test_the_root_file_system_has_what_a_node_runs(built: Artifacts, program: str) -> None:
    assert (built.rootfs / program).exists()


def test_the_root_file_system_has_the_mount_points_of_guests(built: Artifacts) -> None:
    for name in MOUNT_POINTS:
        assert list((built.rootfs / name).iterdir()) == []


def test_the_root_file_system_holds_nothing_of_one_machine(built: Artifacts) -> None:
    etc = built.rootfs / "etc"
    assert list((etc / "ssh").glob("ssh_host_*")) == []
    assert list((etc / "apt").rglob("*.sources")) == []
    assert not (etc / "openvswitch/conf.db").exists()
    for name in ("machine-id", "hostname", "resolv.conf"):
        assert (etc / name).read_text() == ""


def test_the_root_file_system_is_the_builders_own_and_gives_no_privilege(built: Artifacts) -> None:
    strange = []
    for path in built.rootfs.rglob("*"):
        state = path.lstat()
        special = stat.S_ISBLK(state.st_mode) or stat.S_ISCHR(state.st_mode)
        privileged = not path.is_symlink() and state.st_mode & (stat.S_ISUID | stat.S_ISGID)
        if state.st_uid != built.rootfs.stat().st_uid or special or privileged:
            strange.append(str(path))
    assert strange == []


def test_the_guests_python_imports_all_packages(built: Artifacts) -> None:
    modules = (
        "aiohttp, cryptography.x509, dpkt, jinja2, ovs.db.idl, pydantic, rich, typer, vici, yaml"
    )
    told = _guest_python(built, "-c", f"import sys, {modules}; print(sys.version_info[:2])")
    assert told == "(3, 13)\n"


def test_the_guests_python_runs_our_program(built: Artifacts) -> None:
    assert _guest_python(built, "-m", "geneveil", "--version").startswith("geneveil ")


@pytest.mark.parametrize("which", ["site", "code"])
def test_guests_need_not_compile(built: Artifacts, which: str) -> None:
    folder: Path = getattr(built, which)
    sources = [p for p in folder.rglob("*.py") if "__pycache__" not in p.parts]
    assert sources
    for source in sources:
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc"
        if compiled.exists():
            assert struct.unpack("<I", compiled.read_bytes()[4:8])[0] == UNCHECKED_HASH
        else:
            # A package may ship templates that are no Python at all.
            assert which == "site", source


def test_the_copy_of_our_programs_is_whole(fresh: Artifacts) -> None:
    top = Path(__file__).parents[2] / "src/geneveil"
    for source in top.rglob("*.py"):
        copied = fresh.code / "geneveil" / source.relative_to(top)
        assert copied.read_bytes() == source.read_bytes()


def test_all_is_shown_as_built(fresh: Artifacts) -> None:
    states = {state.kind: state for state in status()}
    made = ["kernel", "rootfs", "site", "code"]
    assert list(states) == [*made, "kubernetes", "helm"]
    assert all(states[kind].built for kind in made)
    assert states["kernel"].facts["version"].startswith("6.12")
