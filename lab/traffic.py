"""Steady traffic between pods of all nodes, and what of it was lost.

On every ordered pair of nodes: numbered UDP packets at a fixed rate, and a TCP connection that is
never closed. Started before something is done to a cluster and stopped after it, it tells to the
packet what that cost.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from lab.bringup import Running
from lab.conversation import Conversation
from lab.deadline import wait_until

UDP_A_SECOND = 500
_SETTLE_SECONDS = 20.0


@dataclass(frozen=True)
class PairLoss:
    """One ordered pair of nodes.

    Attributes:
        sent_packets, lost_packets: UDP.
        lost_ranges: numbers of the lost packets, inclusive; at the rate they tell for how long.
        tcp_breaks: chunks that came out of order, or on a new connection with some missing.
        tcp_connects: 1 if the connection held all the time.
        longest_silence_seconds: of the TCP connection.
    """

    source: str
    destination: str
    sent_packets: int
    lost_packets: int
    lost_ranges: tuple[tuple[int, int], ...]
    tcp_breaks: int
    tcp_connects: int
    longest_silence_seconds: float

    @property
    def is_whole(self) -> bool:
        return not self.lost_packets and not self.tcp_breaks and self.tcp_connects == 1

    def __str__(self) -> str:
        return (
            f"{self.source} → {self.destination}: {self.lost_packets} of {self.sent_packets} lost"
            f" {list(self.lost_ranges)[:6]}; TCP: {self.tcp_connects} connections, "
            f"{self.tcp_breaks} breaks, silent for at most {self.longest_silence_seconds} s"
        )


class Traffic:
    """Traffic that is running; `finish` stops it and tells."""

    def __init__(self, programs: list[Conversation]) -> None:
        self._programs = programs

    @classmethod
    async def start(cls, running: Running, udp_a_second: int = UDP_A_SECOND) -> "Traffic":
        """Start on every node, first to listen, then to send; wait until every pair has both."""
        nodes = running.layout.topology.nodes

        async def begin(index: int) -> Conversation:
            node = nodes[index]
            # The second pod, so that probes from the first do not meet it.
            targets = {n.name: str(n.pods[1].address.ip) for n in nodes if n is not node}
            options = {"name": node.name, "targets": targets, "udp_a_second": udp_a_second}
            words = [node.pods[1].namespace, json.dumps(options)]
            return await Conversation.start(running.remote(node.name), "traffic.py", words)

        traffic = cls(list(await asyncio.gather(*(begin(i) for i in range(len(nodes))))))
        await traffic._ask_all({"op": "start"})
        await traffic._await_all()
        return traffic

    async def _await_all(self) -> None:
        async def condition() -> bool:
            reports = await self._ask_all({"op": "report", "totals": {}})
            others = len(self._programs) - 1
            return all(len(r["flows"]) == others and len(r["streams"]) == others for r in reports)

        await wait_until(condition, "traffic on every pair", _SETTLE_SECONDS, poll_seconds=0.2)

    async def _ask_all(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(program.ask(order) for program in self._programs)))

    def forget(self, node: str) -> None:
        """A node lost its power and its program with it: it neither sends nor tells any more."""
        self._programs = [program for program in self._programs if program.node != node]

    async def measure(self) -> tuple[PairLoss, ...]:
        """What has been lost so far, of what had been sent half a second ago; goes on sending."""
        sent = await self._ask_all({"op": "sent"})
        await asyncio.sleep(0.5)
        return await self._losses(sent)

    async def finish(self) -> tuple[PairLoss, ...]:
        """Stop sending, let the last packets arrive, and tell."""
        sent = await self._ask_all({"op": "stop"})
        await asyncio.sleep(0.5)
        losses = await self._losses(sent)
        self.stop()
        return losses

    def stop(self) -> None:
        for program in self._programs:
            program.stop()

    async def _losses(self, sent: list[dict[str, Any]]) -> tuple[PairLoss, ...]:
        by_name = dict(zip((p.node for p in self._programs), sent, strict=True))
        losses = []
        for receiver in self._programs:
            totals = {
                name: answer["sent"][receiver.node]
                for name, answer in by_name.items()
                if receiver.node in answer["sent"]
            }
            report = await receiver.ask({"op": "report", "totals": totals})
            for name, total in totals.items():
                losses.append(_pair_loss(name, receiver.node, total, by_name[name], report))
        return tuple(losses)


def _pair_loss(
    source: str, destination: str, total: int, sender: dict[str, Any], report: dict[str, Any]
) -> PairLoss:
    missing = report["flows"].get(source, {}).get("missing", [[0, total - 1]])
    stream = report["streams"].get(source, {})
    return PairLoss(
        source=source,
        destination=destination,
        sent_packets=total,
        lost_packets=sum(last - first + 1 for first, last in missing),
        lost_ranges=tuple((first, last) for first, last in missing),
        tcp_breaks=stream.get("breaks", 0),
        tcp_connects=sender["connects"][destination],
        longest_silence_seconds=stream.get("longest_silence_seconds", 0.0),
    )
