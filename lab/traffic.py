"""Steady traffic between pods of all nodes, and what of it was lost.

On every ordered pair of nodes: numbered UDP packets at a fixed rate, and a TCP connection that is
never closed. Started before something is done to a cluster and stopped after it, it tells to the
packet what that cost.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lab.bringup import Running
from lab.conversation import Conversation
from lab.deadline import wait_until

UDP_A_SECOND = 500
LEAST_SHARE = 0.25
"""Of the packets that the rate asks for: a sender drops what a machine that is busy kept it from
sending, and one that sent hardly anything proves nothing by losing nothing."""

TICK_SECONDS = 0.02
Key = tuple[str, str]
"""A sender's name and a receiving node's."""

_SETTLE_SECONDS = 20.0
_LATE_SECONDS = 6.0


@dataclass(frozen=True)
class PairLoss:
    """One ordered pair of nodes.

    Attributes:
        sent_packets, lost_packets: UDP.
        lost_ranges: numbers of the lost packets, inclusive.
        lost_seconds: from when the first packet of each range was sent until the next one that came
            was; of the monotonic clock of this machine. A sender that lost its power has one more,
            until the first packet of its successor that came.
        sending_seconds: for how long it sent.
        tcp_breaks: chunks that came out of order, or on a new connection with some missing.
        tcp_connects: 1 if the connection held all the time.
        longest_silence_seconds: of the TCP connection.
        is_last_missing: the last packet that was sent has not come, or not yet.
    """

    source: str
    destination: str
    sent_packets: int
    lost_packets: int
    lost_ranges: tuple[tuple[int, int], ...]
    tcp_breaks: int
    tcp_connects: int
    longest_silence_seconds: float
    udp_a_second: int = UDP_A_SECOND
    is_last_missing: bool = False
    lost_seconds: tuple[tuple[float, float], ...] = ()
    sending_seconds: float = 0.0

    @property
    def longest_outage_seconds(self) -> float:
        """The longest time in which every packet was lost."""
        return max((end - begin for begin, end in self.lost_seconds), default=0.0)

    @property
    def is_thin(self) -> bool:
        """It sent far less than it was told to."""
        return self.sent_packets < LEAST_SHARE * self.udp_a_second * self.sending_seconds

    @property
    def is_whole(self) -> bool:
        return not self.lost_packets and not self.tcp_breaks and self.tcp_connects == 1

    def __str__(self) -> str:
        return (
            f"{self.source} → {self.destination}: {self.lost_packets} of {self.sent_packets} lost"
            f" {list(self.lost_ranges)[:6]}; TCP: {self.tcp_connects} connections, "
            f"{self.tcp_breaks} breaks, silent for at most {self.longest_silence_seconds} s"
        )


@dataclass(frozen=True)
class Mark:
    """A moment, in what had been done by then.

    Attributes:
        sent: sender and receiver to how many packets; a sender that starts anew has another name.
        connects, breaks: the same of TCP.
        sender_seconds: each sender's own clock.
        seconds: this machine's, monotonic like theirs.
        silences: the longest of each TCP connection since the moment that was remembered before.
    """

    sent: Mapping[Key, int]
    connects: Mapping[Key, int]
    breaks: Mapping[Key, int]
    sender_seconds: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    silences: Mapping[Key, float] = field(default_factory=dict)


class Traffic:
    """Traffic that is running; `finish` stops it and tells."""

    def __init__(self, running: Running, udp_a_second: int, tick_seconds: float) -> None:
        self._running = running
        self._udp_a_second = udp_a_second
        self._tick_seconds = tick_seconds
        self._programs: list[Conversation] = []
        self._senders: dict[str, str] = {}
        self._starts = 0
        self._from = Mark({}, {}, {})
        self._begun: dict[str, float] = {}
        self._cut_at: dict[str, float] = {}
        self._silent_since: dict[str, float] = {}

    @classmethod
    async def start(
        cls,
        running: Running,
        udp_a_second: int = UDP_A_SECOND,
        tick_seconds: float = TICK_SECONDS,
    ) -> "Traffic":
        """Start on every node, first to listen, then to send; wait until every pair has both.

        Losses count from then on. Once, at a load of 12, two of six flows lost their first 51
        packets, a tenth of a second, before anything had been done; why was not found.

        Args:
            tick_seconds: packets leave in bursts, one in so many seconds; a gap that is shorter
                may pass unseen.
        """
        traffic = cls(running, udp_a_second, tick_seconds)
        names = [node.name for node in running.layout.topology.nodes]
        traffic._programs = list(await asyncio.gather(*(traffic._begin(name) for name in names)))
        await asyncio.gather(*(traffic._begin_to_send(one) for one in traffic._programs))
        await traffic._await_all()
        traffic._from = await traffic.mark()
        return traffic

    async def _begin(self, name: str) -> Conversation:
        nodes = self._running.layout.topology.nodes
        node = self._running.layout.topology.node(name)
        # The second pod, so that probes from the first do not meet it. Where pods have both
        # families, UDP goes by the one and TCP by the other.
        targets = {
            n.name: (str(n.pods[1].newest_address), str(n.pods[1].address.ip))
            for n in nodes
            if n is not node
        }
        self._starts += 1
        self._senders[name] = f"{name}#{self._starts}"
        options = {
            "name": self._senders[name],
            "targets": targets,
            "udp_a_second": self._udp_a_second,
            "tick_seconds": self._tick_seconds,
        }
        words = [node.pods[1].namespace, json.dumps(options)]
        return await Conversation.start(self._running.remote(name), "traffic.py", words)

    async def _begin_to_send(self, program: Conversation) -> None:
        answer = await program.ask({"op": "start"})
        self._begun[self._senders[program.node]] = answer["now"]

    async def rejoin(self, name: str) -> None:
        """A node that was forgotten is back: it listens and sends as soon as it has its pod."""
        program = await self._begin(name)
        if name in self._cut_at:
            self._silent_since[self._senders[name]] = self._cut_at.pop(name)
        await self._begin_to_send(program)
        self._programs.append(program)

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
        left = [program for program in self._programs if program.node != node]
        if len(left) < len(self._programs):
            self._cut_at[node] = time.monotonic()
        self._programs = left

    def dismiss(self, node: str) -> None:
        """A node that was forgotten is gone for good: who comes under its name is another one."""
        self._cut_at.pop(node, None)

    async def measure(self) -> tuple[PairLoss, ...]:
        """What has been lost since all flows were there, of what had been sent half a second ago;
        goes on sending."""
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

    async def mark(self) -> Mark:
        """Remember this moment; the longest silence of TCP counts anew from here."""
        reports = await self._ask_all({"op": "report", "totals": {}})
        answers = await self._ask_all({"op": "hush"})
        named = [(self._senders[p.node], p.node) for p in self._programs]
        seconds = time.monotonic()
        sent: dict[Key, int] = {}
        connects: dict[Key, int] = {}
        breaks: dict[Key, int] = {}
        silences: dict[Key, float] = {}
        for (sender, node), answer, report in zip(named, answers, reports, strict=True):
            sent |= {(sender, target): n for target, n in answer["sent"].items()}
            connects |= {(sender, target): n for target, n in answer["connects"].items()}
            streams = report["streams"].items()
            breaks |= {(name, node): s["breaks"] for name, s in streams}
            silences |= {(name, node): s["longest_silence_seconds"] for name, s in streams}
        clocks = {sender: a["now"] for (sender, _), a in zip(named, answers, strict=True)}
        return Mark(sent, connects, breaks, clocks, seconds, silences)

    async def _losses(self, sent: list[dict[str, Any]]) -> tuple[PairLoss, ...]:
        named = [self._senders[p.node] for p in self._programs]
        total: dict[Key, int] = {}
        connects: dict[Key, int] = {}
        for sender, answer in zip(named, sent, strict=True):
            total |= {(sender, target): n for target, n in answer["sent"].items()}
            connects |= {(sender, target): n for target, n in answer["connects"].items()}
        clocks = {sender: answer["now"] for sender, answer in zip(named, sent, strict=True)}
        return await self.losses_between(self._from, Mark(total, connects, {}, clocks))

    async def losses_between(self, begin: Mark, end: Mark) -> tuple[PairLoss, ...]:
        """What was lost of what was sent between two moments, the later one half a second ago or
        more. Numbers in `lost_ranges` count from a sender's start.

        Late is not lost: what was sent last may still be on its way through machines that are busy.
        """
        until = time.monotonic() + _LATE_SECONDS
        while True:
            losses = await self._ask_losses(begin, end)
            if time.monotonic() > until or not any(loss.is_last_missing for loss in losses):
                return await self._with_times(losses, begin, end)
            await asyncio.sleep(0.5)

    async def _ask_losses(self, begin: Mark, end: Mark) -> tuple[PairLoss, ...]:
        losses = []
        for receiver in self._programs:
            keys = [key for key in end.sent if key[1] == receiver.node]
            order = {
                "op": "report",
                "totals": {key[0]: end.sent[key] for key in keys},
                "firsts": {key[0]: begin.sent.get(key, 0) for key in keys},
            }
            report = await receiver.ask(order)
            losses += [_pair_loss(key, begin, end, report, self._udp_a_second) for key in keys]
        return tuple(losses)

    async def _with_times(
        self, losses: tuple[PairLoss, ...], begin: Mark, end: Mark
    ) -> tuple[PairLoss, ...]:
        """The same, and when what was lost had been sent: asked of those who sent it."""
        programs = {program.node: program for program in self._programs}
        found = []
        for loss in losses:
            sender = self._senders[loss.source]
            is_new = sender not in begin.sender_seconds
            since = self._begun[sender] if is_new else begin.sender_seconds[sender]
            edges = [edge for first, last in loss.lost_ranges for edge in (first, last + 1)]
            answer = await programs[loss.source].ask({"op": "when", "numbers": [0, *edges]})
            ahead = time.monotonic() - answer["now"]
            first, *times = [moment + ahead for moment in answer["at"]]
            lost = list(zip(times[::2], times[1::2], strict=True))
            if is_new and sender in self._silent_since:
                lost = with_silence(lost, self._silent_since[sender], first)
            lasted = end.sender_seconds[sender] - since
            found.append(replace(loss, lost_seconds=tuple(lost), sending_seconds=lasted))
        return tuple(found)


def with_silence(
    lost: Sequence[tuple[float, float]], cut_at: float, first_sent: float
) -> list[tuple[float, float]]:
    """What a sender's successor lost, and the time from the cut to its first packet that came."""
    if lost and lost[0][0] <= first_sent:
        return [(cut_at, lost[0][1]), *lost[1:]]
    return [(cut_at, first_sent), *lost]


def _pair_loss(
    key: Key, begin: Mark, end: Mark, report: dict[str, Any], udp_a_second: int
) -> PairLoss:
    sender, destination = key
    first, total = begin.sent.get(key, 0), end.sent[key]
    everything = [[first, total - 1]] if total > first else []
    missing = report["flows"].get(sender, {}).get("missing", everything)
    stream = report["streams"].get(sender, {})
    before = begin.connects.get(key, 0)
    return PairLoss(
        source=sender.split("#")[0],
        destination=destination,
        sent_packets=total - first,
        lost_packets=sum(last - first + 1 for first, last in missing),
        lost_ranges=tuple((first, last) for first, last in missing),
        tcp_breaks=stream.get("breaks", 0) - begin.breaks.get(key, 0),
        # The connection that was there at the beginning counts as one.
        tcp_connects=end.connects[key] - before + (1 if before else 0),
        longest_silence_seconds=end.silences.get(key, stream.get("longest_silence_seconds", 0.0)),
        udp_a_second=udp_a_second,
        is_last_missing=bool(missing) and missing[-1][1] == total - 1,
    )
