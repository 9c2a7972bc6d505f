"""Measures enrolment on Kubernetes: many nodes at once, a real API server, one operator process.

    python -m bench.kubernetes [--nodes 100 1000 5000] [--out out/bench]

For each count a new API server with its etcd, the chart's CRDs, permissions and policies, and one
operator. The nodes are threads of this process that run the agent's own enrolment code, each with
the real token of its own Pod. Measured: certificates a second, median and 99th latency, requests to
the API server by verb and resource (from its audit log) for operator and agents apart, processor
time of every process, the operator's memory, and how long until every node has heard of a
revocation. Checked: every node has one certificate for its own request, no request was answered
twice, no serial number is there twice. Ratios between the counts are printed: what a node costs is
to stay the same.

On one machine the API server, etcd, the operator and all nodes share the processors: the rate is
that of all of them together. A table is printed; kubernetes.json has all figures.
"""

import argparse
import datetime
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.audited import AGENTS, OPERATOR, Asked, count_requests, read_events
from bench.kube_crowd import Crowd, KubeMember, make_members, make_room
from bench.processes import cpu_seconds, memory_mib
from geneveil.kube.io import KubeClient, open_client
from geneveil.kube.kinds import CLUSTER_IPSECS, CONFIG_MAPS, NODE_IPSECS, NODES
from geneveil.kube.port import Selection
from lab.build import kubernetes
from lab.kube.cluster import make_namespace
from lab.kube.server import ApiServer
from tests.kube.operator_bench import NAMESPACE, OperatorReplica, install, replica, switch_on

IDLE_SECONDS = 10.0
SECONDS_A_NODE = 0.5
LEAST_SECONDS = 120.0


@dataclass(frozen=True)
class Scene:
    """What is measured.

    Attributes:
        patience: seconds after which something that has not happened is a failure.
    """

    server: ApiServer
    admin: KubeClient
    operator: OperatorReplica
    patience: float

    @property
    def pids(self) -> dict[str, int]:
        return {
            "operator": self.operator.process.pid,
            "apiServer": self.server.api.pid,
            "etcd": self.server.etcd.pid,
            "nodes": os.getpid(),
        }

    def cpu(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self.pids.items()}

    def wait(self, what: str, ask: Callable[[], bool]) -> float:
        """Seconds until it was so."""
        began = time.monotonic()
        while not ask():
            if time.monotonic() - began > self.patience:
                raise RuntimeError(f"{what}: not within {self.patience:.0f} s")
            time.sleep(0.2)
        return time.monotonic() - began


@contextmanager
def running(folder: Path, nodes: int) -> Iterator[Scene]:
    """API server and operator on an empty cluster where IPsec is on."""
    programs = kubernetes.ensure()
    with ApiServer.start(folder / "kube", programs) as server:
        make_namespace(server)
        install(server, programs.helm)
        admin = open_client(server.kubeconfig())
        switch_on(admin)
        with replica(server, folder, "bench") as operator:
            scene = Scene(server, admin, operator, max(nodes * SECONDS_A_NODE, LEAST_SECONDS))
            scene.wait("the operator leads", lambda: operator.said('event="trust-published"'))
            yield scene


def measure(nodes: int) -> dict[str, Any]:
    """One burst of so many nodes, then their watches."""
    with tempfile.TemporaryDirectory() as name, running(Path(name), nodes) as scene:
        pid = scene.operator.process.pid
        start_mib = memory_mib(pid)
        began = time.monotonic()
        members = make_members(scene.server, nodes)
        scene.wait("NodeIPsecs", lambda: _count(scene, NODE_IPSECS) == nodes)
        prepared_seconds = time.monotonic() - began
        crowd = Crowd(members)
        since, before = _now(), scene.cpu()
        load = os.getloadavg()[0]
        served_seconds = crowd.enrol(scene.patience)
        scene.wait("status", lambda: _certified(scene) == nodes)
        used = {name: seconds - before[name] for name, seconds in scene.cpu().items()}
        result: dict[str, Any] = {
            "nodes": nodes,
            "preparedSeconds": round(prepared_seconds, 1),
            "loadAverageBefore": round(load, 1),
            **_burst_figures(members, served_seconds),
            "cpuSeconds": {name: round(seconds, 1) for name, seconds in used.items()},
            "operatorCpuMillisecondsEach": round(used["operator"] / nodes * 1000, 2),
            "operatorRssStartMib": round(start_mib, 1),
            "operatorRssPeakMib": round(memory_mib(pid, "VmHWM"), 1),
            "apiServerRssPeakMib": round(memory_mib(scene.server.api.pid, "VmHWM")),
            "etcdRssPeakMib": round(memory_mib(scene.server.etcd.pid, "VmHWM")),
        }
        asked = count_requests(read_events(scene.server.layout.audit_log), since)
        _check(scene, members, asked[OPERATOR])
        result["requests"] = {
            who: _request_figures(asked[user], nodes)
            for who, user in (("operator", OPERATOR), ("agents", AGENTS))
        }
        result["idle"] = _measure_idle(scene)
        result["secondsUntilAllKnowOfARevocation"] = round(_revoke(scene, crowd), 2)
        return result


def _burst_figures(members: Sequence[KubeMember], served_seconds: float) -> dict[str, Any]:
    latencies = sorted(member.latency_seconds for member in members)
    last = latencies[-1]
    return {
        "secondsToLastCertificate": round(last, 2),
        "secondsUntilAllHoldTheirWatch": round(served_seconds, 2),
        "perSecond": round(len(members) / last, 1),
        "latencyMedianSeconds": round(latencies[len(latencies) // 2], 2),
        "latency99Seconds": round(
            latencies[min(len(latencies) * 99 // 100, len(latencies) - 1)], 2
        ),
        "turnedAway": sum(member.turned_away for member in members),
    }


def _request_figures(asked: Asked, nodes: int) -> dict[str, Any]:
    return {
        "each": round((asked.total() - asked.turned_away) / nodes, 2),
        "turnedAway": asked.turned_away,
        "failed": {" ".join(map(str, key)): count for key, count in asked.failed.items()},
        "byVerbAndResource": {
            f"{verb} {what}": count for (verb, what), count in asked.requests.most_common()
        },
    }


def _check(scene: Scene, members: Sequence[KubeMember], asked: Asked) -> None:
    """Nothing lost, nothing twice."""
    serials = {member.serial for member in members}
    if len(serials) != len(members):
        raise RuntimeError(f"{len(members)} nodes have {len(serials)} serial numbers")
    twice = {name: count for name, count in asked.answers.items() if count != 1}
    if twice or len(asked.answers) != len(members):
        raise RuntimeError(f"{len(asked.answers)} requests were answered; not once: {twice}")
    selection = Selection(CONFIG_MAPS, NAMESPACE, labels="geneveil.io/ledger=node")
    recorded = []
    for document in scene.admin.list_all(selection).items:
        ledger = json.loads(document["data"]["ledger.json"])
        recorded += [one["serial"] for one in ledger["certificates"]]
    if sorted(recorded) != sorted(serials):
        raise RuntimeError(f"the ledger has {len(recorded)} certificates, not those of the nodes")


def _measure_idle(scene: Scene) -> dict[str, Any]:
    """What it costs while nothing happens and every node holds its watch."""
    pid = scene.operator.process.pid
    since, before = _now(), cpu_seconds(pid)
    time.sleep(IDLE_SECONDS)
    used = cpu_seconds(pid) - before
    asked = count_requests(read_events(scene.server.layout.audit_log), since)
    per_minute = 60 / IDLE_SECONDS
    return {
        "operatorCpuPercent": round(used / IDLE_SECONDS * 100, 1),
        "operatorRequestsAMinute": round(asked.get(OPERATOR, Asked()).total("") * per_minute),
        "agentsRequestsAMinute": round(asked.get(AGENTS, Asked()).total("") * per_minute),
        "operatorRssMib": round(memory_mib(pid), 1),
    }


def _revoke(scene: Scene, crowd: Crowd) -> float:
    """Delete one Node: all others are to hear that its certificate counts no more."""
    began = time.monotonic()
    scene.admin.delete(NODES, crowd.members[0].place.node)
    return crowd.heard(scene.patience) - began


def _count(scene: Scene, kind: Any) -> int:
    return len(scene.admin.list_all(Selection(kind, is_metadata_only=True)).items)


def _certified(scene: Scene) -> int:
    status = scene.admin.read(CLUSTER_IPSECS, "cluster").get("status") or {}
    return int((status.get("nodes") or {}).get("certified", 0))


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def ratios(results: Sequence[dict[str, Any]]) -> dict[str, float]:
    """What a node costs at each count, against the first count: 1 if it does not grow."""
    first = results[0]
    found = {}
    for one in results[1:]:
        pair = f"{one['nodes']}/{first['nodes']}"
        for who in ("operator", "agents"):
            each = [result["requests"][who]["each"] for result in (one, first)]
            found[f"requests of {who} a node, {pair}"] = round(each[0] / each[1], 2)
        cpu = [result["operatorCpuMillisecondsEach"] for result in (one, first)]
        found[f"processor time of the operator a node, {pair}"] = round(cpu[0] / cpu[1], 2)
    return found


def _print(results: Sequence[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    rows: tuple[tuple[str, Callable[[dict[str, Any]], Any]], ...] = (
        ("nodes", lambda one: one["nodes"]),
        ("certs/s", lambda one: one["perSecond"]),
        ("median s", lambda one: one["latencyMedianSeconds"]),
        ("99th s", lambda one: one["latency99Seconds"]),
        ("turned away", lambda one: one["turnedAway"]),
        ("requests each: operator", lambda one: one["requests"]["operator"]["each"]),
        ("agents", lambda one: one["requests"]["agents"]["each"]),
        ("CPU ms each", lambda one: one["operatorCpuMillisecondsEach"]),
        ("peak MiB", lambda one: one["operatorRssPeakMib"]),
        ("idle CPU %", lambda one: one["idle"]["operatorCpuPercent"]),
        ("all know s", lambda one: one["secondsUntilAllKnowOfARevocation"]),
    )
    for title, _ in rows:
        table.add_column(title, justify="right")
    for one in results:
        table.add_row(*(str(value(one)) for _, value in rows))
    console = Console(width=140)
    console.print(table)
    for what, ratio in ratios(results).items():
        console.print(f"{what}: {ratio}")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    arguments = parser.parse_args()
    make_room()
    results = [measure(count) for count in arguments.nodes]
    arguments.out.mkdir(parents=True, exist_ok=True)
    document = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}",
        "python": platform.python_version(),
        "results": results,
        "ratios": ratios(results),
    }
    (arguments.out / "kubernetes.json").write_text(json.dumps(document, indent=2) + "\n")
    _print(results)


if __name__ == "__main__":
    main()
