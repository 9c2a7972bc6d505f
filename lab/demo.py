"""The main job: two clusters, one after the other, the same traffic, one verdict.

First a cluster installed with IPsec off (the default), then one installed with IPsec on; each is
booted, probed and halted under the witness's eyes from before its first guest to after its last.
What is gathered goes into one evidence folder, and `geneveil verify`, the same program that an
auditor runs on that folder, judges it. Its exit status is the demo's.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from geneveil.model.errors import ConfigError
from geneveil.verify.evidence import SCHEMA_VERSION, Evidence, PhaseEvidence
from geneveil.verify.flows import Phase
from lab.bringup import Running, bring_up
from lab.claim import refuse_if_up, take_lock
from lab.lifecycle import LabConfig, Programs, lay_out, supervised
from lab.probes import plan_exchanges, send_exchanges
from lab.shared_folder import plan_cluster
from lab.testimony import (
    Observed,
    measure_throughput,
    merge_sa_keys,
    phase_evidence,
    read_ca_certificate,
    read_nodes,
    read_sa_keys,
    read_versions,
)

Say = Callable[[str], None]
CLUSTER_NAME = "demo"
LOCK_FILE = ".lock"
OUTPUTS = (
    *(f"{phase.value}.pcap" for phase in Phase),
    *("evidence.json", "report.json", "report.html", "diagram.svg"),
)


@dataclass(frozen=True)
class DemoConfig:
    """What to run and where to put it."""

    lab: LabConfig
    programs: Programs
    transport: str
    out: Path


async def run_demo(config: DemoConfig, say: Say) -> int:
    """Run both clusters, write the evidence, judge it; return the verdict's exit status.

    Raises:
        ConfigError: another demo writes to the folder or uses the name; nothing was changed.
    """
    with hold_folder(config.out):
        for phase in Phase:
            refuse_if_up(lab_name(config, phase))
        for name in OUTPUTS:
            # An old PASS must not stand where a new run did not come to its end.
            (config.out / name).unlink(missing_ok=True)
        phases: list[PhaseEvidence] = []
        versions: dict[str, str] = {}
        run = secrets.token_bytes(16)
        for phase in (Phase.DISABLED, Phase.ENABLED):
            seen, found = await run_phase(config, phase, run, say)
            phases.append(seen)
            versions |= found
        write_evidence(config.out, versions, phases)
        say("evidence gathered; judging it")
        return await judge_evidence(config.out)


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Keep every other demo out of an output folder for as long as the block runs.

    Raises:
        ConfigError: another has it, or it can't be made.
    """
    path = folder / LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(path)
    except OSError as error:
        raise ConfigError(
            f"--out {folder}: cannot be written to",
            why=error.strerror or str(error),
            remedy="choose another folder",
        ) from error
    if lock is None:
        raise ConfigError(
            f"--out {folder}: another demo is writing to it",
            remedy="wait until it has ended, or choose another --out and --name",
        )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def lab_name(config: DemoConfig, phase: Phase) -> str:
    """What the lab of a phase is called."""
    return f"{config.lab.name}-{phase.value}"


def write_evidence(folder: Path, versions: dict[str, str], phases: list[PhaseEvidence]) -> None:
    """Write evidence.json beside the captures, for its owner's eyes: it holds SA keys."""
    evidence = Evidence(
        schema_version=SCHEMA_VERSION,
        cluster=CLUSTER_NAME,
        created_at=datetime.now(UTC).replace(microsecond=0),
        versions=versions,
        phases=tuple(phases),
    )
    path = folder / "evidence.json"
    path.touch(mode=0o600)
    path.write_text(evidence.to_json())


async def leave_alone(running: Running) -> None:
    """Do nothing to a cluster before it is probed."""


async def run_phase(
    config: DemoConfig,
    phase: Phase,
    run: bytes,
    say: Say,
    *,
    spoil: Callable[[Running], Awaitable[None]] = leave_alone,
    with_throughput: bool = True,
) -> tuple[PhaseEvidence, dict[str, str]]:
    """One cluster from boot to halt.

    Args:
        run: random bytes of this run, the same for both phases.
        spoil: called once the cluster is up and before it is probed; tests break things here, to
            see that the verdict notices.
    """
    ipsec = phase is Phase.ENABLED
    layout = lay_out(
        replace(config.lab, name=lab_name(config, phase), ipsec=ipsec),
        config.programs,
        plan_cluster(
            ipsec,
            config.lab.encapsulation,
            ipv6=config.lab.is_ipv6,
            kubernetes=ipsec and config.lab.kubernetes,
        ),
        config.transport,
    )
    begun = time.monotonic()
    title = f"cluster with IPsec {'on' if ipsec else 'off'}"

    def tell(text: str) -> None:
        say(f"{title}: {text}")

    tell("booting")
    async with supervised(layout) as lab:
        running = Running(layout, lab)
        try:
            await bring_up(running, tell)
            await spoil(running)
            observed, versions = await _observe(running, phase, run, tell, with_throughput)
            await halt(running)
        finally:
            running.close()
    tell(f"halted after {time.monotonic() - begun:.0f} s")
    name = f"{phase.value}.pcap"
    shutil.move(layout.capture, config.out / name)
    return phase_evidence(running, observed, phase, name), versions


async def _observe(
    running: Running, phase: Phase, run: bytes, tell: Say, with_throughput: bool
) -> tuple[Observed, dict[str, str]]:
    layout = running.layout
    keys_before = await read_sa_keys(running)
    exchanges = plan_exchanges(layout.topology, phase, layout.cluster.pod_mtu_bytes, run)
    probes = await send_exchanges(running, exchanges)
    delivered = sum(probe.delivered for probe in probes)
    tell(f"{len(probes)} marked probes sent, {delivered} arrived")
    throughput = None
    if with_throughput:
        throughput = await measure_throughput(running)
        tell(f"pod to pod across nodes: {throughput:.0f} Mbit/s")
    nodes, ca_pem, versions, keys_after = await asyncio.gather(
        read_nodes(running),
        read_ca_certificate(running),
        read_versions(running),
        read_sa_keys(running),
    )
    keys = merge_sa_keys(keys_before, keys_after)
    return Observed(probes, keys, nodes, ca_pem, throughput), versions


async def halt(running: Running) -> None:
    """Power every guest off, wait until each is gone."""

    async def power_off(guest: str) -> None:
        # The guest is gone before it could answer.
        await running.remote(guest).run(
            "(sleep 0.2; echo o > /proc/sysrq-trigger) > /dev/null 2>&1 &"
        )

    await asyncio.gather(*(power_off(guest) for guest in running.layout.topology.guests))
    await running.lab.order("await-halt")
    await running.lab.order("stop")


async def judge_evidence(folder: Path) -> int:
    """Run `geneveil verify` on the folder, as an auditor would; return its exit status."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "geneveil", "verify", str(folder)
    )
    try:
        return await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
