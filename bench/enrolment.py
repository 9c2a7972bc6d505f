"""Measures enrolment: 10, 100, 1,000 and 5,000 nodes in one burst against one operator process.

    python -m bench.enrolment [--nodes 10 100 1000 5000] [--out out/bench]

For each count, on loopback, the operator and the crowd being one process each: enrolments a
second, median and 99th latency (from a node's first attempt to its certificate, waiting included),
the operator's processor time and memory; then each node holds a watch, and what that costs is
measured: memory for each, processor time while nothing happens, and the time until all have the
answer when a node is revoked. A table is printed; enrolment.json and enrolment.html have all.
"""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.crowd import HeldWatch, Member, enrol_all, make_members, make_room
from bench.outcome import Figure, latency_figures, parse_arguments, publish, run
from bench.processes import cpu_seconds, memory_mib
from bench.progress import counted
from geneveil.enroll.io import EnrolmentClient
from geneveil.enroll.wire import parse_token

CONFIG = """apiVersion: geneveil.io/v1alpha1
kind: ClusterIPsec
metadata: {name: bench}
spec: {mode: Full, operator: {listen: "127.0.0.1:0"}}
"""
IDLE_SECONDS = 10.0
OPENED_AT_ONCE = 50
SETTLE_SECONDS = 60.0


@dataclass(frozen=True)
class Operator:
    """A running operator."""

    state: Path
    process: subprocess.Popen[str]
    port: int

    def command(self, *arguments: str) -> str:
        return _geneveil(*arguments, "--state-dir", str(self.state))

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid)

    def memory_mib(self, name: str = "VmRSS") -> float:
        return memory_mib(self.process.pid, name)

    def connections(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Operator]:
    """An operator on a new state, in its own process."""
    config, state = directory / "cluster.yaml", directory / "state"
    config.write_text(CONFIG)
    _geneveil("init", "--config", str(config), "--state-dir", str(state))
    command = [sys.executable, "-m", "geneveil", "operator", "run", "--state-dir", str(state)]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, text=True)
    try:
        yield Operator(state, process, _port_of(directory / "log", process))
    finally:
        process.terminate()
        process.wait(30)


def measure(nodes: int) -> dict[str, Any]:
    """One burst of so many nodes, then a watch of each."""
    with tempfile.TemporaryDirectory() as directory, running(Path(directory)) as operator:
        names = [f"node-{number}" for number in range(nodes)]
        made = json.loads(operator.command("token", *names, "spare", "-o", "json"))["tokens"]
        tokens = [parse_token(one["token"]) for one in made]
        spare, members = tokens.pop(), make_members(tokens)
        client = EnrolmentClient(f"https://127.0.0.1:{operator.port}")
        bundle = client.fetch_bootstrap(spare.ca_pin).trust_bundle_pem
        start_mib, start_cpu = operator.memory_mib(), operator.cpu_seconds()
        seconds = asyncio.run(enrol_all(members, operator.port, bundle))
        cpu = operator.cpu_seconds() - start_cpu
        result = {
            "nodes": nodes,
            **_burst_figures(members, seconds, cpu),
            "rssStartMib": round(start_mib, 1),
            "rssPeakMib": round(operator.memory_mib("VmHWM"), 1),
        }
        whole = json.loads(operator.command("log", "--check", "-o", "json"))["whole"]
        listed = json.loads(operator.command("list", "-o", "json"))["certificates"]
        if not whole or len(listed) != nodes:
            raise RuntimeError(f"{len(listed)} certificates for {nodes} nodes, log whole: {whole}")
        result["watch"] = asyncio.run(_measure_watches(operator, members, start_mib))
        return result


def _burst_figures(members: Sequence[Member], seconds: float, cpu: float) -> dict[str, Any]:
    refused = [member.refusals for member in members if member.refusals]
    if refused:
        raise RuntimeError(f"nodes were refused: {refused[:3]}")
    return {
        "seconds": round(seconds, 2),
        "perSecond": round(len(members) / seconds, 1),
        **latency_figures([member.latency_seconds for member in members]),
        "turnedAway": sum(member.turned_away for member in members),
        "cut": sum(member.cut for member in members),
        "operatorCpuSeconds": round(cpu, 2),
        "operatorCpuMillisecondsEach": round(cpu / len(members) * 1000, 2),
    }


async def _measure_watches(
    operator: Operator, members: Sequence[Member], start_mib: float
) -> dict[str, Any]:
    generation = json.loads(operator.command("ca", "status", "-o", "json"))["generation"]
    idle_connections = operator.connections()
    began_cpu = operator.cpu_seconds()
    watches = [HeldWatch(member, generation) for member in members]
    gate = asyncio.Semaphore(OPENED_AT_ONCE)

    async def begin(watch: HeldWatch) -> None:
        async with gate:
            await watch.begin(operator.port)

    await asyncio.gather(*(begin(watch) for watch in watches))
    await _settle(operator)
    opening_cpu = operator.cpu_seconds() - began_cpu
    held = operator.connections() - idle_connections
    held_mib, held_cpu = operator.memory_mib(), operator.cpu_seconds()
    await asyncio.sleep(IDLE_SECONDS)
    idle_cpu = operator.cpu_seconds() - held_cpu
    pending = [asyncio.ensure_future(watch.end()) for watch in watches]
    began = time.monotonic()
    await asyncio.to_thread(operator.command, "remove", "spare")
    answers = await asyncio.gather(*pending)
    woken_seconds = time.monotonic() - began
    refused = [answer for answer in answers if answer.status != 200]
    if refused:
        first = refused[0]
        raise RuntimeError(f"{len(refused)} watches were refused: {first.status} {first!r:.300}")
    return {
        "held": held,
        # from the start: what the burst left behind is used again, and would hide the cost
        "kibEachAtMost": round((held_mib - start_mib) * 1024 / len(members), 1),
        "rssMib": round(held_mib, 1),
        "openingCpuMillisecondsEach": round(opening_cpu / len(members) * 1000, 2),
        "idleCpuPercent": round(idle_cpu / IDLE_SECONDS * 100, 2),
        "secondsUntilAllKnowOfARevocation": round(woken_seconds, 2),
        "rssPeakMib": round(operator.memory_mib("VmHWM"), 1),
    }


async def _settle(operator: Operator) -> None:
    """Until the operator has nothing left to do."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        before = operator.cpu_seconds()
        await asyncio.sleep(1)
        if operator.cpu_seconds() - before < 0.1:
            return
    raise RuntimeError("the operator does not come to rest")


def _geneveil(*arguments: str) -> str:
    command = [sys.executable, "-m", "geneveil", "operator", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _port_of(log: Path, process: subprocess.Popen[str]) -> int:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        if found := re.search(r'event="listening".* port=(\d+)', log.read_text()):
            return int(found[1])
        time.sleep(0.02)
    raise RuntimeError(f"the operator did not start: {log.read_text()}")


FIGURES = (
    Figure("nodes", lambda one: one["nodes"]),
    Figure("enrolments/s", lambda one: one["perSecond"], is_drawn=True),
    Figure("median s", lambda one: one["latencyMedianSeconds"]),
    Figure("99th s", lambda one: one["latency99Seconds"]),
    Figure("turned away", lambda one: one["turnedAway"]),
    Figure("CPU ms each", lambda one: one["operatorCpuMillisecondsEach"], is_drawn=True),
    Figure("peak MiB", lambda one: one["rssPeakMib"], is_drawn=True),
    Figure("watch KiB each, at most", lambda one: one["watch"]["kibEachAtMost"], is_drawn=True),
    Figure("held idle CPU %", lambda one: one["watch"]["idleCpuPercent"]),
    Figure("all woken s", lambda one: one["watch"]["secondsUntilAllKnowOfARevocation"]),
)


def main() -> None:
    """Measure, print, write."""
    arguments = parse_arguments(str(__doc__).splitlines()[0], (10, 100, 1000, 5000))
    make_room()
    with counted("bursts of nodes", len(arguments.nodes)) as tell:
        results = []
        for count in arguments.nodes:
            results.append(measure(count))
            tell(len(results))
    publish(arguments.out, "enrolment", FIGURES, results)


if __name__ == "__main__":
    run(main)
