"""Gathers from a running lab what the judge is told: nodes, SA keys, probes, versions, throughput.

The captures say what happened on the wire; this says who is who and which keys open it. SA keys
are read with ip(8) on each node, not with geneveil's own code: the accused does not write the
evidence. The keys of a lab are worth nothing once it is down.
"""

import asyncio
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from geneveil.verify.evidence import NodeEvidence, PhaseEvidence, Probe, SaKey
from geneveil.verify.flows import Phase
from geneveil.verify.sa_keys import parse_ip_xfrm_state
from lab.bringup import Running
from lab.errors import LabError
from lab.supervisor import WITNESS_FILE
from lab.topology import GENEVE_PORT, UNDERLAY_MTU_BYTES, Node

CERTIFICATE_FILE = "node.crt"
TRUST_BUNDLE_FILE = "trust-bundle.pem"
# Enough for the figure to settle, little enough for the capture to stay small. iperf3 ends at a
# whole interval, whose length (-i) is thereby the figure's grain.
_THROUGHPUT_MIB = 96
_IPERF_SECONDS = 60


@dataclass
class Observed:
    """What a phase has gathered so far."""

    probes: tuple[Probe, ...] = ()
    sa_keys: tuple[SaKey, ...] = ()
    nodes: tuple[NodeEvidence, ...] = ()
    ca_certificate_pem: str | None = None
    throughput_mbit_s: float | None = None


async def read_sa_keys(running: Running) -> tuple[SaKey, ...]:
    """Every SA of every node, as its kernel has it at this moment."""

    async def read(node: Node) -> tuple[SaKey, ...]:
        text = await running.remote(node.name).check("ip -d xfrm state")
        return tuple(parse_ip_xfrm_state(text, node.name))

    readings = await asyncio.gather(*(read(n) for n in running.layout.topology.nodes))
    return tuple(key for reading in readings for key in reading)


def merge_sa_keys(*readings: tuple[SaKey, ...]) -> tuple[SaKey, ...]:
    """One entry for each node and SA, the latest reading."""
    latest: dict[tuple[str, str, str, int], SaKey] = {}
    for reading in readings:
        for key in reading:
            latest[(key.node, key.source, key.destination, key.spi)] = key
    return tuple(latest.values())


async def read_nodes(running: Running) -> tuple[NodeEvidence, ...]:
    """Who each node is, with the certificate that it authenticates with."""

    async def read(node: Node) -> NodeEvidence:
        pem = None
        if running.layout.cluster.ipsec:
            pem = await running.remote(node.name).check(f"cat /var/lib/geneveil/{CERTIFICATE_FILE}")
        return NodeEvidence(
            node.name, node.chassis, (str(node.underlay.ip),), node.underlay_mac, pem
        )

    return tuple(await asyncio.gather(*(read(n) for n in running.layout.topology.nodes)))


async def read_ca_certificate(running: Running) -> str | None:
    """The trust bundle that a node holds; null in a cluster without IPsec."""
    if not running.layout.cluster.ipsec:
        return None
    first = running.layout.topology.nodes[0]
    return await running.remote(first.name).check(f"cat /var/lib/geneveil/{TRUST_BUNDLE_FILE}")


async def measure_throughput(running: Running) -> float:
    """TCP between a pod of the first node and one of the second, in Mbit/s, by iperf3.

    Raises:
        LabError: iperf3 failed or said nothing that can be read.
    """
    a, b = running.layout.topology.nodes[:2]
    server = f"ip netns exec {b.pods[1].namespace} iperf3 -s -1 -D -p 5201"
    await running.remote(b.name).check(server)
    command = (
        f"ip netns exec {a.pods[1].namespace} iperf3 -J -c {b.pods[1].newest_address} "
        f"-p 5201 -n {_THROUGHPUT_MIB}M -i 0.1 --connect-timeout 5000"
    )
    text = await running.remote(a.name).check(command, seconds=_IPERF_SECONDS)
    try:
        bits = json.loads(text)["end"]["sum_received"]["bits_per_second"]
    except (ValueError, KeyError) as error:
        raise LabError("iperf3's report cannot be read", why=text[-300:]) from error
    return round(float(bits) / 1e6, 1)


async def read_versions(running: Running) -> dict[str, str]:
    """What ran, by name."""
    commands = {
        "kernel": "uname -r",
        "Open vSwitch": "ovs-vswitchd --version | head -1",
        "OVN": "ovn-controller --version | head -1",
        "strongSwan": "dpkg-query -W -f '${Version}' charon-systemd",
        "nftables": "nft --version",
        "geneveil": "geneveil --version",
    }
    remote = running.remote(running.layout.topology.nodes[0].name)
    found = await asyncio.gather(*(remote.check(command) for command in commands.values()))
    versions = {name: _version(text) for name, text in zip(commands, found, strict=True)}
    if running.layout.cluster.kubernetes:
        text = await asyncio.to_thread(running.layout.kube.server_version)
        versions["Kubernetes API server (control plane)"] = _version(text)
    return versions


def _version(text: str) -> str:
    match = re.search(r"v?(\d[\w.+~-]*)", text)
    return match.group(1) if match else text.strip()


@dataclass(frozen=True)
class WitnessReport:
    """tcpdump's closing words."""

    captured_frames: int
    dropped_frames: int


def parse_witness_report(text: str, ended_at: datetime) -> WitnessReport:
    """Read what tcpdump says when it ends (tcpdump(8), "packets captured ...").

    Args:
        ended_at: for the message: one that was killed says nothing.
    Raises:
        LabError: the words are not there: then nobody knows what the witness missed.
    """
    captured = re.search(r"^(\d+) packets? captured", text, re.MULTILINE)
    dropped = re.search(r"^(\d+) packets? dropped by kernel", text, re.MULTILINE)
    if not captured or not dropped:
        words = text.strip()[-300:] or "nothing"
        raise LabError(
            "the witness did not say how much it saw, so nothing can be proved",
            why=f"tcpdump ended at {ended_at:%H:%M:%S} UTC and its last words were: {words}",
            remedy="run it again; if it was killed, see why",
        )
    by_interface = re.search(r"^(\d+) packets? dropped by interface", text, re.MULTILINE)
    lost = int(dropped.group(1)) + (int(by_interface.group(1)) if by_interface else 0)
    return WitnessReport(int(captured.group(1)), lost)


def phase_evidence(
    running: Running, observed: Observed, phase: Phase, capture: str
) -> PhaseEvidence:
    """Everything of one cluster, once it is down.

    Raises:
        LabError: the witness left nothing that says how much it saw.
    """
    path = running.layout.data_dir / WITNESS_FILE
    try:
        testimony = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise LabError("the witness left no report", why=f"{path}: {error}") from error
    report = parse_witness_report(testimony["report"], _utc(testimony["stopped_at"]))
    return PhaseEvidence(
        phase=phase,
        capture_file=capture,
        frames_captured=report.captured_frames,
        frames_dropped=report.dropped_frames,
        witness_started_at=_utc(testimony["started_at"]),
        first_boot_at=_utc(min(testimony["booted_at"].values())),
        last_halt_at=_utc(max(testimony["halted_at"].values())),
        witness_stopped_at=_utc(testimony["stopped_at"]),
        geneve_ports=(GENEVE_PORT,),
        pod_mtu_bytes=running.layout.cluster.pod_mtu_bytes,
        nodes=observed.nodes,
        probes=observed.probes,
        sa_keys=observed.sa_keys,
        ca_certificate_pem=observed.ca_certificate_pem,
        throughput_mbit_s=observed.throughput_mbit_s,
        underlay_mtu_bytes=UNDERLAY_MTU_BYTES,
    )


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
