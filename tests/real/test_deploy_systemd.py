"""The systemd units as systemd itself reads them, and the order that they give."""

import shutil
import subprocess
from pathlib import Path

import pytest

from geneveil.cli.operator_options import DEFAULT_STATE_DIR
from tests.real.programs import command_of

pytestmark = pytest.mark.real

TOP = Path(__file__).parents[2] / "deploy/systemd"
STOCK = Path("/lib/systemd/system")
EARLY = "[Unit]\nDefaultDependencies=no\n"
ONCE = "[Service]\nType=oneshot\nExecStart=/usr/bin/geneveil\n"
OURS = ("geneveil-guard.service", "geneveil-agent.service", "geneveil-boot-guard.service")
OPERATOR = "geneveil-operator.service"
OTHERS = {
    "nftables": f"{EARLY}Before=network-pre.target\nWants=network-pre.target\n{ONCE}",
    "systemd-networkd": f"{EARLY}After=network-pre.target\nBefore=network.target\n{ONCE}",
    "ovsdb-server": f"{EARLY}After=local-fs.target\nBefore=network.target\n{ONCE}",
    "ovs-vswitchd": f"{EARLY}After=ovsdb-server.service network-pre.target\n"
    f"Requires=ovsdb-server.service\nBefore=network.target\n{ONCE}",
    "openvswitch-switch": "[Unit]\nAfter=network-pre.target ovs-vswitchd.service\n"
    f"Requires=ovs-vswitchd.service\nBefore=network.target\n{ONCE}",
    "strongswan": "[Unit]\nAfter=network-online.target\n"
    "[Service]\nType=notify\nExecStart=/usr/bin/geneveil\n",
}
"""As Debian and Open vSwitch ship them, as far as order goes."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    units = tmp_path / "etc/systemd/system"
    shutil.copytree(TOP, units)
    stock = tmp_path / "lib/systemd/system"
    stock.mkdir(parents=True)
    for target in STOCK.glob("*.target"):
        if target.is_file():
            shutil.copy(target, stock)
    for name, text in OTHERS.items():
        (stock / f"{name}.service").write_text(text)
    for made in ("multi-user.target.wants/geneveil-agent.service",
                 "multi-user.target.wants/geneveil-guard.service",
                 "multi-user.target.wants/geneveil-boot-guard.service",
                 "ovs-vswitchd.service.requires/geneveil-guard.service"):  # fmt: skip
        (units / made).parent.mkdir(exist_ok=True)
        (units / made).symlink_to(f"../{Path(made).name}")
    for name in ("usr/bin/geneveil", "usr/sbin/nft"):
        program = tmp_path / name
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return tmp_path


def verify(root: Path) -> tuple[int, str]:
    units = [*OURS, OPERATOR, "strongswan.service"]
    command = [*command_of("systemd-analyze"), f"--root={root}", "verify", "--man=no", *units]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def ours(said: str) -> list[str]:
    return [line for line in said.splitlines() if "geneveil" in line or "cycle" in line]


def test_systemd_has_nothing_to_say_about_them(root: Path) -> None:
    status, said = verify(root)
    assert ours(said) == []
    assert status == 0, said


def test_a_mistake_would_be_seen(root: Path) -> None:
    unit = root / "etc/systemd/system/geneveil-guard.service"
    unit.write_text(
        unit.read_text().replace("[Service]", "After=geneveil-agent.service\n[Service]")
    )
    unit.write_text(unit.read_text().replace("RemainAfterExit=yes", "RemainsAfterExit=yes"))
    said = verify(root)[1]
    assert "RemainsAfterExit" in said
    assert "cycle" in said


def settings(unit: str, key: str) -> set[str]:
    lines = (TOP / unit).read_text().splitlines()
    return {word for line in lines if line.startswith(f"{key}=")
            for word in line.partition("=")[2].split()}  # fmt: skip


def test_the_order_is_guard_network_charon_and_open_vswitch_agent() -> None:
    before = settings("geneveil-guard.service", "Before")
    assert {"network-pre.target", "ovs-vswitchd.service", "ovsdb-server.service",
            "openvswitch-switch.service", "systemd-networkd.service", "NetworkManager.service",
            "strongswan.service", "geneveil-agent.service"} <= before  # fmt: skip
    assert "nftables.service" in settings("geneveil-guard.service", "After")
    after = settings("geneveil-agent.service", "After")
    assert {"ovs-vswitchd.service", "strongswan.service", "geneveil-guard.service"} <= after
    drop_in = "strongswan.service.d/geneveil.conf"
    assert settings(drop_in, "After") == {"geneveil-guard.service"}
    assert settings(drop_in, "Before") == {"geneveil-agent.service"}


def test_the_guard_of_a_host_that_runs_pods_comes_as_early() -> None:
    unit = "geneveil-boot-guard.service"
    assert settings("geneveil-guard.service", "Before") - settings(unit, "Before") == {
        "strongswan.service",
        "geneveil-agent.service",
    }
    on_okd = {"ovs-configuration.service", "crio.service", "kubelet.service"}
    assert on_okd <= settings(unit, "Before")
    assert settings("geneveil-guard.service", "After") <= settings(unit, "After")
    assert settings(unit, "DefaultDependencies") == {"no"}
    assert settings(unit, "WantedBy") == {"multi-user.target"}


def test_nothing_takes_the_guard_out_and_open_vswitch_needs_it() -> None:
    for unit in OURS:
        assert not any(settings(unit, key) for key in ("ExecStop", "ExecStopPost", "Conflicts"))
    assert settings("geneveil-guard.service", "DefaultDependencies") == {"no"}
    assert settings("geneveil-guard.service", "RequiredBy") == {"ovs-vswitchd.service"}
    assert settings("geneveil-agent.service", "MemoryMax") == {"64M"}
    assert settings("geneveil-agent.service", "Restart") == {"always"}


def test_the_operator_keeps_its_state_where_its_commands_look_for_it() -> None:
    assert settings(OPERATOR, "StateDirectory") == {DEFAULT_STATE_DIR.name}
    assert settings(OPERATOR, "StateDirectoryMode") == {"0700"}
    assert settings(OPERATOR, "CapabilityBoundingSet") == set()


def test_the_agent_has_the_capabilities_that_it_has_on_kubernetes() -> None:
    chart = (TOP.parent / "chart/geneveil/templates/agent.yaml").read_text()
    given = {f"CAP_{word}" for word in ("NET_ADMIN", "NET_RAW", "DAC_OVERRIDE") if word in chart}
    assert settings("geneveil-agent.service", "CapabilityBoundingSet") == given
    assert len(given) == 3
