"""From booted guests to a cluster whose pods reach each other.

Theory of operation: everything that can go at once goes at once. Central comes up and gets the
cluster network while nodes still boot; in a cluster with IPsec the operator hands out a join token
a node, which is put where the node's agent waits for it. Then conditions are awaited, each with
its deadline: chassis registered, pods wired, and with IPsec every agent reporting all is well.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lab.deadline import wait_until
from lab.errors import LabError
from lab.health import is_well
from lab.kube.install import install
from lab.lifecycle import Layout, Supervised
from lab.ovn import write_cluster_network
from lab.remote import Remote
from lab.spec import forward_socket
from lab.topology import CENTRAL, NORTHBOUND_PORT, Node

BOOT_SECONDS = 120.0
READY_SECONDS = 120.0
Say = Callable[[str], None]


@dataclass
class Running:
    """A lab that is up, with a connection to every guest."""

    layout: Layout
    lab: Supervised
    remotes: dict[str, Remote] = field(default_factory=dict)

    def remote(self, guest: str) -> Remote:
        if guest not in self.remotes:
            raise LabError(f"no connection to {guest}")
        return self.remotes[guest]

    async def connect(self, guest: str) -> Remote:
        """Connect once the guest has its network; notices a guest that died."""
        await self.reached(guest, "network")
        remote = await Remote.connect(
            self.layout.run_dir, guest, self.layout.ssh_key, seconds=BOOT_SECONDS
        )
        self.remotes[guest] = remote
        return remote

    async def reached(self, guest: str, stage: str, seconds: float = BOOT_SECONDS) -> None:
        """Wait until a guest's boot has come to `stage` (see lab/guest/services).

        Raises:
            LabError: not in time, or the guest ended; with the last lines of its console.
        """
        mark = self.layout.disk(guest) / "boot" / stage

        async def condition() -> bool:
            return mark.exists()

        await wait_until(
            condition,
            f"{guest} to reach {stage!r}",
            seconds,
            explain=lambda: console_tail(self.layout, guest),
        )

    def close(self) -> None:
        for remote in self.remotes.values():
            remote.close()
        self.remotes.clear()


def console_tail(layout: Layout, guest: str, characters: int = 600) -> str:
    """The end of a guest's console, for a message."""
    path = layout.disk(guest) / "log" / "console.log"
    text = path.read_text(errors="replace").strip() if path.exists() else ""
    return f"its console ({path}) ends: {text[-characters:]}" if text else f"{path} is empty"


async def bring_up(running: Running, say: Say) -> None:
    """Make the cluster and wait until it carries traffic."""
    nodes = running.layout.topology.nodes
    await asyncio.gather(
        _install_kubernetes(running, say),
        _bring_up_central(running, say),
        *(_bring_up_node(running, node) for node in nodes),
    )
    say(f"{len(nodes)} nodes and central are booted")
    await asyncio.gather(*(await_wired(running, node) for node in nodes))
    say("every node is a chassis, every pod is wired")
    if running.layout.cluster.ipsec:
        await asyncio.gather(*(await_secured(running, node) for node in nodes))
        say("every pair of nodes has its security associations")


async def _bring_up_central(running: Running, say: Say) -> None:
    layout = running.layout
    await running.reached(CENTRAL, "ovn")
    socket = forward_socket(layout.run_dir, CENTRAL, NORTHBOUND_PORT)
    network = asyncio.to_thread(
        write_cluster_network,
        socket,
        layout.topology,
        layout.cluster.pod_mtu_bytes,
        layout.cluster.ipsec,
    )
    remote, _ = await asyncio.gather(running.connect(CENTRAL), network)
    say("cluster network written to OVN northbound")
    if layout.cluster.ipsec:
        await running.reached(CENTRAL, "operator")
    if layout.cluster.ipsec and not layout.cluster.kubernetes:
        await hand_out_tokens(running, remote)
        say("a join token handed to every node")


async def _install_kubernetes(running: Running, say: Say) -> None:
    layout = running.layout
    if layout.cluster.kubernetes:
        server = layout.kube
        await asyncio.to_thread(install, server, layout.topology, layout.cluster.encapsulation)
        say("geneveil is installed on the API server, every node has its Node and its agent's Pod")


async def hand_out_tokens(running: Running, central: Remote) -> None:
    """One token a node, made by the operator, put where its agent waits for it."""
    nodes = running.layout.topology.nodes
    names = [node.chassis for node in nodes]
    text = await central.check(["geneveil", "operator", "token", *names, "-o", "json"])
    for node, token in zip(nodes, json.loads(text)["tokens"], strict=True):
        put_token(running.layout, node, token["token"])


def put_token(layout: Layout, node: Node, token: str) -> None:
    """Write the token file of a node, whole or not at all, readable by root alone."""
    folder = layout.disk(node.name) / "etc-geneveil"
    folder.mkdir(exist_ok=True)
    draft = folder / ".token"
    draft.touch(mode=0o600)
    draft.write_text(token + "\n")
    draft.rename(folder / "token")


async def _bring_up_node(running: Running, node: Node) -> None:
    await running.connect(node.name)
    await running.reached(node.name, "services")


async def await_wired(running: Running, node: Node, seconds: float = READY_SECONDS) -> None:
    """Wait until ovn-controller has installed every local port's flows and made the tunnels."""
    remote = running.remote(node.name)
    ports = ["ovn-k8s-mp0", *(pod.host_interface for pod in node.pods)]
    tunnels = len(running.layout.topology.nodes) - 1
    command = (
        f"for p in {' '.join(ports)}; do "
        "ovs-vsctl --timeout=5 get interface $p external_ids:ovn-installed || exit 1; done; "
        "ovs-vsctl --bare --columns=name find interface type=geneve | grep -c ."
    )
    last = ""

    async def condition() -> bool:
        nonlocal last
        done = await remote.run(command)
        last = (done.stderr + done.stdout).strip()
        lines = done.stdout.split()
        return done.status == 0 and bool(lines) and int(lines[-1]) >= tunnels

    await wait_until(
        condition,
        f"{node.name}'s pods to be wired by OVN, with {tunnels} tunnels",
        seconds,
        explain=lambda: last,
        poll_seconds=0.3,
    )


async def await_secured(
    running: Running,
    node: Node,
    seconds: float = READY_SECONDS,
    apart_from: frozenset[str] = frozenset(),
) -> None:
    """Wait until the node's own status says that all is well, but for some health codes."""
    remote = running.remote(node.name)
    last = ""

    async def condition() -> bool:
        nonlocal last
        done = await remote.run("cat /run/geneveil/status.json")
        last = done.stdout or done.stderr
        return done.status == 0 and is_well(json.loads(done.stdout), apart_from)

    await wait_until(
        condition,
        f"{node.name}'s agent to report that all is well",
        seconds,
        explain=lambda: _complaints(last) + f"; log: {agent_log(running.layout, node)}",
        poll_seconds=0.2,
    )


def agent_log(layout: Layout, node: Node) -> Path:
    return layout.disk(node.name) / "log" / "agent.log"


def _complaints(status: str) -> str:
    """The health values in a status document, for a message."""
    try:
        health = json.loads(status).get("health", [])
    except ValueError:
        return status.strip()[:300]
    return "; ".join(f"{value.get('code')}: {value.get('what')}" for value in health)[:600]
