"""The proof can fail: on real clusters, each thing that goes wrong turns the verdict.

One cluster with IPsec off is the positive control of all of them; each cluster with IPsec on is
broken in one way before it is probed, and `geneveil verify` judges, as it does in the demo.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from geneveil.verify.evidence import PhaseEvidence
from geneveil.verify.flows import FlowKind, Phase
from lab.bringup import Running
from lab.demo import DemoConfig, leave_alone, run_phase, write_evidence
from lab.lifecycle import LabConfig, Programs
from lab.topology import Node
from tests.lab.conftest import DATA_DIR
from tests.lab.opening import REMOVE_GUARDS

pytestmark = pytest.mark.lab

Spoil = Callable[[Running], Awaitable[None]]


@dataclass(frozen=True)
class Control:
    """The cluster with IPsec off, probed once."""

    run: bytes
    folder: Path
    evidence: PhaseEvidence
    versions: dict[str, str]


def config_of(programs: Programs, transport: str, out: Path, name: str) -> DemoConfig:
    out.mkdir(parents=True, exist_ok=True)
    return DemoConfig(LabConfig(name, 2, data_dir=DATA_DIR), programs, transport, out)


@pytest.fixture(scope="module")
def control(
    programs: Programs,
    transport: str,
    runner: asyncio.Runner,
    tmp_path_factory: pytest.TempPathFactory,
) -> Control:
    run = secrets.token_bytes(16)
    folder = tmp_path_factory.mktemp("control")
    config = config_of(programs, transport, folder, "t-control")
    evidence, versions = runner.run(
        run_phase(config, Phase.DISABLED, run, lambda text: None, with_throughput=False)
    )
    return Control(run, folder, evidence, versions)


Judge = Callable[[str, Spoil], tuple[int, dict[str, Any]]]


@pytest.fixture
def judged(
    control: Control, programs: Programs, transport: str, runner: asyncio.Runner, tmp_path: Path
) -> Judge:
    """Run a cluster with IPsec on, spoil it, judge it against the control."""

    def judge(name: str, spoil: Spoil) -> tuple[int, dict[str, Any]]:
        config = config_of(programs, transport, tmp_path, f"t-{name}")
        evidence, versions = runner.run(
            run_phase(
                config,
                Phase.ENABLED,
                control.run,
                lambda text: None,
                spoil=spoil,
                with_throughput=False,
            )
        )
        shutil.copy(control.folder / "disabled.pcap", tmp_path)
        write_evidence(tmp_path, control.versions | versions, [control.evidence, evidence])
        command = [sys.executable, "-m", "geneveil", "verify", str(tmp_path), "-o", "json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert "Traceback" not in done.stderr, done.stderr
        report: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
        return done.returncode, report

    return judge


async def end_daemons(running: Running) -> None:
    """Both nodes lose agent, charon and every SA; the guard stays."""
    for node in running.layout.topology.nodes:
        remote = running.remote(node.name)
        await remote.run("pkill -9 -f '[g]eneveil.agent'; pkill -9 charon")
        await remote.check("ip xfrm state flush; ip xfrm policy flush")


async def remove_guard_and_connections(running: Running) -> None:
    await end_daemons(running)
    for node in running.layout.topology.nodes:
        await running.remote(node.name).check(REMOVE_GUARDS)


async def kill_a_pod(running: Running) -> None:
    await running.remote("node2").check("ip -n node2-pod1 link set eth0 down")


async def end_witness(running: Running) -> None:
    """tcpdump ends, as if somebody had told it to, before anything is probed."""
    capture = running.layout.spec.capture.encode()
    (witness,) = (
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if capture in (words := _words(path)) and words[0] == b"tcpdump"
    )
    os.kill(witness, signal.SIGTERM)


def _words(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        return []


def install_static(key_bytes: int, mode: str, icv_bits: int = 128) -> Spoil:
    """Replace what the agent made by SAs of our own choosing, which the guard cannot tell apart:
    their reqids are of those that geneveil uses."""

    async def spoil(running: Running) -> None:
        await end_daemons(running)
        a, b = running.layout.topology.nodes
        lines = _one_way(a, b, 0x1001, key_bytes, mode, icv_bits)
        lines_back = _one_way(b, a, 0x1002, key_bytes, mode, icv_bits)
        for node in (a, b):
            text = [
                line.replace("DIR", "out" if node is sender else "in")
                for sender, direction in ((a, lines), (b, lines_back))
                for line in direction
            ]
            await running.remote(node.name).check("ip -batch -", stdin="\n".join(text) + "\n")

    return spoil


def _one_way(
    sender: Node, receiver: Node, spi: int, key_bytes: int, mode: str, icv_bits: int
) -> list[str]:
    ends = f"src {sender.underlay.ip} dst {receiver.underlay.ip}"
    reqid = 1 << 30 | spi
    key = "0x" + bytes(range(spi & 0xFF, (spi & 0xFF) + key_bytes + 4)).hex()
    return [
        f"xfrm state add {ends} proto esp spi {spi} reqid {reqid} mode {mode} replay-window 32 "
        f"aead rfc4106(gcm(aes)) {key} {icv_bits}",
        f"xfrm policy add {ends} proto udp dport 6081 dir DIR "
        f"tmpl {ends} proto esp reqid {reqid} mode {mode}",
    ]


def reasons_of(report: dict[str, Any]) -> str:
    return json.dumps(report["verdict"]["reasons"]).lower()


def overlay_observations(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the cluster with IPsec on, every probe that rides Geneve."""
    enabled = next(p for p in report["verdict"]["phases"] if p["phase"] == Phase.ENABLED.value)
    kinds = (FlowKind.POD_TO_POD.value, FlowKind.HOST_TO_POD.value)
    seen = [o for row in enabled["flows"] if row["kind"] in kinds for o in row["observations"]]
    assert len(seen) == 2 * 2 * 12
    return seen


def test_a_cluster_that_is_left_alone_passes(judged: Judge) -> None:
    status, report = judged("good", leave_alone)
    assert status == 0, report["verdict"]["reasons"]
    assert {one["observed"] for one in overlay_observations(report)} == {"encrypted"}


def test_a_witness_that_ended_early_turns_the_verdict(judged: Judge) -> None:
    status, report = judged("blind", end_witness)
    assert status != 0
    assert "before the last guest was gone" in reasons_of(report)


def test_removed_guard_and_connection_turn_the_verdict(judged: Judge) -> None:
    status, report = judged("bare", remove_guard_and_connections)
    assert status != 0
    assert "geneve" in reasons_of(report)
    assert "clear" in reasons_of(report)


@pytest.mark.parametrize(
    ("name", "key_bytes", "icv_bits", "cipher"),
    [("aes128", 16, 128, "AES-GCM-16-128"), ("icv8", 32, 64, "AES-GCM-8-256")],
)
def test_a_wrong_cipher_turns_the_verdict(
    judged: Judge, name: str, key_bytes: int, icv_bits: int, cipher: str
) -> None:
    status, report = judged(name, install_static(key_bytes, "transport", icv_bits))
    assert status != 0
    assert f"sas use {cipher.lower()}, not aes-gcm-16-256" in reasons_of(report)
    # Not the kernel's word alone: what was found on the wire says so of itself.
    seen = overlay_observations(report)
    assert {(one["observed"], one["cipher"]) for one in seen} == {("wrong cipher", cipher)}
    assert all(one["decrypted"] and not one["passed"] for one in seen)


def test_tunnel_mode_turns_the_verdict(judged: Judge) -> None:
    status, report = judged("tunnel", install_static(32, "tunnel"))
    assert status != 0
    assert "tunnel mode" in reasons_of(report)


def test_a_dead_pod_turns_the_verdict(judged: Judge) -> None:
    status, report = judged("dead", kill_a_pod)
    assert status != 0
    assert "not delivered" in reasons_of(report)
