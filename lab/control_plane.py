"""Who certifies a lab's nodes, in a scenario's hands: the same verbs, whichever it is.

Standalone, that is geneveil's own operator on central. On Kubernetes it is an API server beside the
guests, with a clock of its own that no scenario moves, and two replicas of the operator on central.
"""

import asyncio
import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from lab.bringup import Running, put_token
from lab.deadline import wait_until
from lab.errors import LabError
from lab.kube.cluster import make_agent_pod, make_node, request_token
from lab.kube.in_lab import API_SERVER, ETCD, FOLDER
from lab.kube.install import CHASSIS_ANNOTATION, await_ready, delete_node
from lab.kube.kubelets import write_token
from lab.shared_folder import KUBE_FOLDER
from lab.topology import CENTRAL

STANDALONE, KUBERNETES = "standalone", "kubernetes"
_END = "pkill -9 -f '[g]eneveil operator run'"
_AWAY_AFTER_SECONDS = 60
ON_KUBERNETES_AWAY_AFTER_SECONDS = 900.0
"""The operator's own, which is started there as its manifest says."""
_START = (
    f"setsid geneveil operator run --away-after {_AWAY_AFTER_SECONDS}"
    " < /dev/null >> /disk/log/operator.log 2>&1 &"
)
_CRASHED_SECONDS = 2.0
_FORGOTTEN_SECONDS = 30.0


class ControlPlane(Protocol):
    """What a scenario does to it.

    Attributes:
        name: STANDALONE or KUBERNETES.
        where: what `geneveil operator` is told on central, so that it finds this operator.
        asks_for_tokens: a node that has no certificate needs a person who makes it a join token.
        away_after_seconds: a node that was not heard for so long holds up no roll-over.
    """

    @property
    def name(self) -> str: ...

    @property
    def where(self) -> tuple[str, ...]: ...

    @property
    def asks_for_tokens(self) -> bool: ...

    @property
    def away_after_seconds(self) -> float: ...

    async def shut_out(self, node: str) -> None:
        """A node is a member no more; returns when that was said, not when it is so."""

    async def keeps_out(self, node: str) -> bool:
        """A node that was shut out gets nothing that it could come back with."""

    async def remove(self, node: str) -> None:
        """As `shut_out`, of a node that left for good."""

    async def take_in(self, node: str, *, is_back: bool = False) -> None:
        """Give a machine what it enrols with.

        Args:
            is_back: a node of its name was shut out.
        """

    async def crash_operator(self) -> None:
        """kill -9; then it is started again."""

    async def check_log(self) -> str:
        """What is wrong with the operator's audit log; empty if it is whole."""

    async def leave(self) -> None:
        """Nobody answers a node's questions from now on."""

    async def come_back(self) -> None:
        """After `leave`."""


@dataclass(frozen=True)
class Standalone:
    """geneveil's own operator."""

    running: Running
    name: str = STANDALONE
    where: tuple[str, ...] = ()
    asks_for_tokens: bool = True
    away_after_seconds: float = _AWAY_AFTER_SECONDS

    async def shut_out(self, node: str) -> None:
        command = ["geneveil", "operator", "revoke", node, "--reason", "keyCompromise"]
        await self.running.remote(CENTRAL).check(command)

    async def keeps_out(self, node: str) -> bool:
        command = ["geneveil", "operator", "token", node, "-o", "json"]
        return (await self.running.remote(CENTRAL).run(command)).status != 0

    async def remove(self, node: str) -> None:
        await self.running.remote(CENTRAL).check(["geneveil", "operator", "remove", node])

    async def take_in(self, node: str, *, is_back: bool = False) -> None:
        command = ["geneveil", "operator", "token", node, "-o", "json"]
        text = await self.running.remote(CENTRAL).check(command + ["--readmit"] * is_back)
        put_token(self.running.layout, self.running.layout.topology.node(node), _token(text))

    async def crash_operator(self) -> None:
        await self.leave()
        await asyncio.sleep(_CRASHED_SECONDS)
        await self.come_back()

    async def check_log(self) -> str:
        command = ["geneveil", "operator", "log", "--check", "-o", "json"]
        found = json.loads(await self.running.remote(CENTRAL).check(command))
        return "" if found["whole"] else str(found["problems"])

    async def leave(self) -> None:
        await self.running.remote(CENTRAL).run(_END)

    async def come_back(self) -> None:
        await self.running.remote(CENTRAL).check(_START)


@dataclass(frozen=True)
class Kubernetes:
    """An API server, and two replicas of the operator, started again when they end."""

    running: Running
    name: str = KUBERNETES
    where: tuple[str, ...] = ("--kubernetes", "--kubeconfig", f"{KUBE_FOLDER}/admin.kubeconfig")
    asks_for_tokens: bool = False
    away_after_seconds: float = ON_KUBERNETES_AWAY_AFTER_SECONDS

    async def shut_out(self, node: str) -> None:
        """Its Node is deleted, with the agent's Pod on it."""
        await asyncio.to_thread(delete_node, self.running.layout.kube, node)

    async def keeps_out(self, node: str) -> bool:
        """The agent's token is nobody's any more; the API server forgets it within seconds."""
        layout = self.running.layout
        token = (layout.disk(node) / FOLDER / "token").read_text().strip()
        server = layout.kube
        config = server.token_kubeconfig(f"shut-out-{node}", token)

        async def is_refused() -> bool:
            command = ("auth", "whoami", "--request-timeout=5s")
            done = await asyncio.to_thread(server.kubectl, *command, config=config)
            return done.returncode != 0 and "Unauthorized" in done.stderr

        try:
            await wait_until(is_refused, f"{node}'s token to end", _FORGOTTEN_SECONDS)
        except LabError:
            return False
        return True

    async def remove(self, node: str) -> None:
        await self.shut_out(node)

    async def take_in(self, node: str, *, is_back: bool = False) -> None:
        """Its Node, the agent's Pod on it, and that one's token, as the kubelet gets it."""
        layout = self.running.layout

        def make() -> None:
            chassis = layout.topology.node(node).chassis
            make_node(layout.kube, node, {CHASSIS_ANNOTATION: chassis})
            token = request_token(layout.kube, make_agent_pod(layout.kube, node))
            write_token(layout.disk(node) / FOLDER / "token", token)

        await asyncio.to_thread(make)

    async def crash_operator(self) -> None:
        """Both replicas; the Lease has to run out before one leads again."""
        await self.running.remote(CENTRAL).run(_END)

    async def check_log(self) -> str:
        """Of the newest entries, which are kept as an object, each names the one before it."""
        command = ["geneveil", "operator", "log", *self.where, "-o", "json"]
        entries = json.loads(await self.running.remote(CENTRAL).check(command))["entries"]
        if not entries:
            return "it is empty"
        pairs = pairwise(entries)
        broken = [later["seq"] for one, later in pairs if later["previousHash"] != one["hash"]]
        return f"before {broken} something is missing" if broken else ""

    async def leave(self) -> None:
        for service in (API_SERVER, ETCD):
            await self.running.lab.order("kill-service", service)

    async def come_back(self) -> None:
        for service in (ETCD, API_SERVER):
            await self.running.lab.order("start-service", service)
        await asyncio.to_thread(await_ready, self.running.layout.kube)


def _token(text: str) -> str:
    return str(json.loads(text)["token"])


def control_plane(running: Running) -> ControlPlane:
    """A running lab's."""
    return Kubernetes(running) if running.layout.cluster.kubernetes else Standalone(running)
