"""Measures enrolment on Kubernetes: many nodes at once, a real API server, one operator process.

    python -m bench.kubernetes [--nodes 100 1000 5000] [--out out/bench]

For each count a new API server with its etcd, the chart's CRDs, permissions, policies and flow
schemas, and one operator. The nodes are played in this process: they ask what an agent asks (see
`kube_agent`), each with the real token of its own Pod. Measured: certificates a second, median and
99th latency, requests to the API server by verb and resource (from its audit log) for operator and
agents apart, processor time of every process, the operator's memory, how long until every node has
heard of a revocation, and what it costs while nothing happens. Checked: every node has one
certificate for its own request, no request was answered twice, no serial number is there twice.
Ratios between the counts are printed: what a node costs is to stay the same.

On one machine the API server, etcd, the operator and all nodes share the processors: the rate is
that of all of them together. A table is printed; kubernetes.json and kubernetes.html have all.
"""

import datetime
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.audited import AGENTS, OPERATOR, Asked, count_requests, read_events
from bench.crowd import make_room
from bench.kube_agent import KubeMember
from bench.kube_crowd import Crowd, make_members
from bench.outcome import Figure, latency_figures, parse_arguments, publish, run
from bench.processes import cpu_seconds, memory_mib
from bench.progress import counted
from geneveil.kube.io import KubeClient, open_client
from geneveil.kube.kinds import CLUSTER_IPSECS, CONFIG_MAPS, NODE_IPSECS, NODES
from geneveil.kube.port import Selection
from lab.build import kubernetes
from lab.kube.cluster import make_namespace
from lab.kube.server import ApiServer
from tests.kube.operator_bench import NAMESPACE, OperatorReplica, install, replica, switch_on

IDLE_SECONDS = 30.0
SECONDS_A_NODE = 0.5
LEAST_SECONDS = 120.0
RESTING = 0.2
LOOK_SECONDS = 0.5


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

    def rests(self) -> bool:
        """The operator did next to nothing for a second."""
        before = cpu_seconds(self.operator.process.pid)
        time.sleep(1)
        return cpu_seconds(self.operator.process.pid) - before < RESTING

    def wait(self, what: str, ask: Callable[[], bool]) -> float:
        """Seconds until it was so."""
        began = time.monotonic()
        while not ask():
            if time.monotonic() - began > self.patience:
                raise RuntimeError(f"{what}: not within {self.patience:.0f} s")
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - began


@contextmanager
def running(folder: Path, nodes: int) -> Iterator[Scene]:
    """API server and operator on an empty cluster where IPsec is on."""
    programs = kubernetes.ensure()
    with ApiServer.start(folder / "kube", programs) as server:
        make_namespace(server)
        install(server, programs.helm, ("flowcontrol",))
        admin = open_client(server.kubeconfig())
        switch_on(admin)
        with replica(server, folder, "bench") as operator:
            scene = Scene(server, admin, operator, max(nodes * SECONDS_A_NODE, LEAST_SECONDS))
            scene.wait("the operator leads", lambda: operator.said('event="trust-published"'))
            yield scene


def measure(nodes: int) -> dict[str, Any]:
    """One burst of so many nodes, then their watches."""
    with tempfile.TemporaryDirectory() as name, running(Path(name), nodes) as scene:
        start_mib = memory_mib(scene.operator.process.pid)
        members, prepared_seconds = _prepare(scene, nodes)
        with Crowd(members) as crowd:
            result = {
                "nodes": nodes,
                "loadAverageBefore": round(os.getloadavg()[0], 1),
                "preparedSeconds": round(prepared_seconds, 1),
                **_measure_burst(scene, crowd),
                "operatorRssStartMib": round(start_mib, 1),
            }
            result["idle"] = _measure_idle(scene)
            result["revocation"] = _measure_revocation(scene, crowd)
            result["operatorRssPeakMib"] = round(memory_mib(scene.operator.process.pid, "VmHWM"), 1)
            result["apiServerRssPeakMib"] = round(memory_mib(scene.server.api.pid, "VmHWM"))
            result["etcdRssPeakMib"] = round(memory_mib(scene.server.etcd.pid, "VmHWM"))
            result["nodesRssMib"] = round(memory_mib(os.getpid()))
        return result


def _prepare(scene: Scene, nodes: int) -> tuple[list[KubeMember], float]:
    began = time.monotonic()
    with counted("nodes, Pods and tokens", nodes) as tell:
        members = make_members(scene.server, nodes, tell)
    scene.wait("NodeIPsecs", lambda: _count(scene, NODE_IPSECS) == nodes)
    return members, time.monotonic() - began


def _measure_burst(scene: Scene, crowd: Crowd) -> dict[str, Any]:
    nodes = len(crowd.members)
    since, before, began = _now(), scene.cpu(), time.monotonic()
    with counted("nodes that hold their watch", nodes) as tell:
        served_seconds = crowd.enrol(scene.patience, tell)
    with counted("nodes that are ready", nodes) as tell:
        scene.wait("status", lambda: _all_ready(scene, nodes, tell))
    ready_seconds = time.monotonic() - began
    scene.wait("the operator rests", scene.rests)
    used = {name: seconds - before[name] for name, seconds in scene.cpu().items()}
    asked = count_requests(read_events(scene.server.layout.audit_log), since)
    _check(scene, crowd.members, asked[OPERATOR])
    latencies = [member.latency_seconds for member in crowd.members]
    return {
        "secondsToLastCertificate": round(max(latencies), 2),
        "secondsUntilAllHoldTheirWatch": round(served_seconds, 2),
        "secondsUntilAllAreReady": round(ready_seconds, 2),
        "perSecond": round(nodes / max(latencies), 1),
        **latency_figures(latencies),
        "turnedAway": sum(member.turned_away for member in crowd.members),
        "cpuSeconds": {name: round(seconds, 1) for name, seconds in used.items()},
        "cpuMillisecondsEach": {
            name: round(seconds / nodes * 1000, 2) for name, seconds in used.items()
        },
        "requests": {
            who: _request_figures(asked[user], nodes)
            for who, user in (("operator", OPERATOR), ("agents", AGENTS))
        },
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


def _measure_revocation(scene: Scene, crowd: Crowd) -> dict[str, Any]:
    """Delete one Node: all others are to hear that its certificate counts no more."""
    crowd.forget()
    since, before = _now(), scene.cpu()["operator"]
    began = time.monotonic()
    scene.admin.delete(NODES, crowd.members[0].place.node)
    heard_at = crowd.heard(scene.patience)
    # the one that was deleted has no object left to say it in
    scene.wait("all have said so", lambda: crowd.said >= len(crowd.members) - 1)
    scene.wait("the operator rests", scene.rests)
    asked = count_requests(read_events(scene.server.layout.audit_log), since)
    return {
        "secondsUntilAllKnow": round(heard_at - began, 2),
        "operatorCpuSeconds": round(scene.cpu()["operator"] - before, 2),
        "operatorRequests": asked.get(OPERATOR, Asked()).total(),
        "agentsRequestsEach": round(asked.get(AGENTS, Asked()).total() / len(crowd.members), 2),
    }


def _count(scene: Scene, kind: Any) -> int:
    return len(scene.admin.list_all(Selection(kind, is_metadata_only=True)).items)


def _all_ready(scene: Scene, nodes: int, tell: Callable[[int], None]) -> bool:
    """Every node has its certificate, and said that all is well."""
    status = scene.admin.read(CLUSTER_IPSECS, "cluster").get("status") or {}
    counts = status.get("nodes") or {}
    tell(int(counts.get("up", 0)))
    return bool(counts.get("certified") == nodes == counts.get("up"))


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
        cpu = [result["cpuMillisecondsEach"]["operator"] for result in (one, first)]
        found[f"processor time of the operator a node, {pair}"] = round(cpu[0] / cpu[1], 2)
    return found


FIGURES = (
    Figure("nodes", lambda one: one["nodes"]),
    Figure("certs/s", lambda one: one["perSecond"], is_drawn=True),
    Figure("median s", lambda one: one["latencyMedianSeconds"]),
    Figure("99th s", lambda one: one["latency99Seconds"]),
    Figure("turned away", lambda one: one["turnedAway"]),
    Figure("operator requests each", lambda one: one["requests"]["operator"]["each"], True),
    Figure("agents requests each", lambda one: one["requests"]["agents"]["each"], True),
    Figure("CPU ms each", lambda one: one["cpuMillisecondsEach"]["operator"], True),
    Figure("peak MiB", lambda one: one["operatorRssPeakMib"], is_drawn=True),
    Figure("idle CPU %", lambda one: one["idle"]["operatorCpuPercent"], is_drawn=True),
    Figure("all know s", lambda one: one["revocation"]["secondsUntilAllKnow"]),
)


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments(str(__doc__).splitlines()[0], (100, 1000, 5000))
    make_room()
    results: list[dict[str, Any]] = []
    for count in arguments.nodes:
        results.append(measure(count))
        # what was measured is not lost if a larger count is too much for the machine
        publish(arguments.out, "kubernetes", FIGURES, results, ratios=ratios(results))
    for what, ratio in ratios(results).items():
        print(f"{what}: {ratio}")


if __name__ == "__main__":
    run(main)
