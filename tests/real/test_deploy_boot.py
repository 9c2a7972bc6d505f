"""A host's boot guard under a real systemd, among Debian's units of nftables and Open vSwitch.

systemd of the lab's root file system is the first process of a container made of bare namespaces,
over a root that is thrown away, and is told to end when everything is up. Its Open vSwitch has no
datapath: what is looked at is the order, and what stands at the moment that Open vSwitch begins.
"""

import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from geneveil.agent.boot_files.io import boot_files, install_boot_files
from geneveil.agent.boot_files.plan import Owner
from geneveil.model.guard import GuardSpec
from tests.real.programs import DEADLINE_SECONDS, lab_root, need_root

pytestmark = pytest.mark.real

NOT_HERE = (
    "getty.target",
    "ssh.service",
    "ovn-central.service",
    "ovn-host.service",
    "strongswan.service",
    "systemd-logind.service",
    "systemd-udevd.service",
)
UNITS = ("nftables", "geneveil-boot-guard", "geneveil-machine-guard", "ovsdb-server",
         "ovs-vswitchd")  # fmt: skip
TABLES = "[Service]\nExecStartPre=+/bin/sh -c 'nft list ruleset > /out/before-vswitchd'\n"
REPORT = f"""[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'nft list ruleset > /out/at-last'
ExecStart=/bin/sh -c 'systemctl show -p Id -p Result -p InactiveExitTimestampMonotonic \
-p ActiveEnterTimestampMonotonic {" ".join(UNITS)} > /out/units'
ExecStart=systemctl exit
"""
# What a machine finds made: its root, file systems of the kernel, devices; then what is tested.
CONTAINER = """
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/root
root=/mnt/root
mount -t overlay -o "lowerdir=$LOWER,upperdir=/mnt/upper,workdir=/mnt/work" none $root
mount -t proc none $root/proc
mount -t sysfs -o ro none $root/sys
mount -t tmpfs none $root/sys/fs/cgroup
mount -t cgroup2 none $root/sys/fs/cgroup
for folder in run dev tmp; do mount -t tmpfs none $root/$folder; done
for name in null zero full random urandom tty; do
    touch $root/dev/$name
    mount --bind /dev/$name $root/dev/$name
done
mkdir -p $root/var/log/openvswitch $root/out
mount --bind "$OUT" $root/out
cp -a "$FILES"/. $root/
for unit in $NOT_HERE; do ln -sf /dev/null $root/etc/systemd/system/$unit; done
exec env -i container=docker PATH=/usr/sbin:/usr/bin chroot $root /usr/lib/systemd/systemd
"""


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A control group for systemd to be the root of."""
    need_root()
    mounts = Path("/proc/self/mounts").read_text()
    found = re.search(r"(?m)^\S+ (\S+) cgroup2 rw", mounts)
    if found is None:
        pytest.skip("needs control groups, version 2, that can be written")
    made = Path(found[1]) / f"gv-{uuid.uuid4().hex[:8]}"
    made.mkdir()
    yield made
    for folder in sorted(made.rglob("*/"), reverse=True):
        folder.rmdir()
    made.rmdir()


def lay_out(files: Path) -> None:
    """An installed machine with both sets of boot files, which know different tunnels."""
    install_boot_files(GuardSpec((4789, 6081)), files)
    machine = boot_files(GuardSpec((6081,)), Owner.MACHINE_CONFIG)
    for path, text in ((machine.paths.unit, machine.unit), (machine.paths.script, machine.script)):
        (files / path).write_text(text)
    units = files / "etc/systemd/system"
    wants = units / "multi-user.target.wants"
    (files / machine.paths.link).symlink_to(machine.paths.link_target)
    (units / "ovs-vswitchd.service.d").mkdir()
    (units / "ovs-vswitchd.service.d/tables.conf").write_text(TABLES)
    (units / "report.service").write_text(REPORT)
    (wants / "report.service").symlink_to("../report.service")
    # its ruleset begins with a flush: an order that were wrong would cost the guard
    (wants / "nftables.service").symlink_to("/usr/lib/systemd/system/nftables.service")
    (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    (files / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")


def boot(cgroup: Path, files: Path, out: Path) -> str:
    """Until systemd has ended; what it said."""
    namespaces = ["unshare", "-C", "-m", "-n", "-p", "-i", "-u", "-f", "--kill-child"]
    enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
    done = subprocess.run(
        ["sh", "-c", enter, str(cgroup), *namespaces, "sh", "-ec", CONTAINER],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LOWER": str(lab_root()),
            "FILES": str(files),
            "OUT": str(out),
            "NOT_HERE": " ".join(NOT_HERE),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    return done.stdout + done.stderr


def read_units(text: str) -> dict[str, dict[str, str]]:
    found = [dict(line.split("=", 1) for line in part.splitlines()) for part in text.split("\n\n")]
    return {unit["Id"].removesuffix(".service"): unit for unit in found}


def test_the_guard_stands_before_open_vswitch_begins(cgroup: Path, tmp_path: Path) -> None:
    assert lab_root() is not None, "needs a built lab (make setup)"
    files, out = tmp_path / "files", tmp_path / "out"
    out.mkdir()
    lay_out(files)
    said = boot(cgroup, files, out)
    assert (out / "units").exists(), said
    units = read_units((out / "units").read_text().strip())
    assert {unit["Result"] for unit in units.values()} == {"success"}
    stood = {name: int(unit["ActiveEnterTimestampMonotonic"]) for name, unit in units.items()}
    began = {name: int(unit["InactiveExitTimestampMonotonic"]) for name, unit in units.items()}
    order = ["nftables", "geneveil-machine-guard", "geneveil-boot-guard", "ovsdb-server"]
    for first, second in zip(order, [*order[1:], "ovs-vswitchd"], strict=True):
        assert 0 < stood[first] <= began[second], (first, second)
    # and the one that knows more tunnels had the last word
    for moment in ("before-vswitchd", "at-last"):
        rules = (out / moment).read_text()
        assert rules.count("udp dport { 4789, 6081 }") >= 4, rules
        assert "table inet filter" in rules
