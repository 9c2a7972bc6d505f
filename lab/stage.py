"""What a scenario plays on: a cluster with steady traffic, watched from outside.

Rules that hold in every scenario, and are checked by `finish`:
    the witness sees no Geneve frame in clear, from before the first guest boots to the end, except
    two: control frames that the scenario itself puts on the wire last;
    pairs of nodes that the scenario does not touch lose no packet.

What the witness saw until the last guest had halted, and whether it missed anything, is asked when
the cluster is down: `lab.last_word`.

A scenario's node1, node2, node3 are parts: who plays which is the stage's `cast`, so that a random
walk can let any node play any part. `at`, `remote` and `node` go by part; all else by name.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from geneveil.model.errors import GeneveilError
from lab.bringup import Running
from lab.capture_slice import count_frames
from lab.clocks import read_clock
from lab.control_plane import ControlPlane, control_plane
from lab.deadline import patience, wait_until
from lab.errors import LabError
from lab.health import is_stale, is_well
from lab.intruder import GENEVE_IN_CLEAR
from lab.remote import Remote
from lab.topology import CENTRAL, GENEVE_PORT, Node
from lab.traffic import TICK_SECONDS, UDP_A_SECOND, PairLoss, Traffic

_WELL_SECONDS = 60.0
_CONTROL_SECONDS = 10.0
_UNUSED_HOST = 200
CONTROL_PORTS = (GENEVE_PORT, 7000)
"""Of the control frames: Geneve's own, and one that only the frame's shape gives away."""


@dataclass
class Stage:
    """A running cluster with IPsec, in a scenario's hands."""

    running: Running
    traffic: Traffic | None = None
    touched: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    cast: Mapping[str, str] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    controls: int = 0

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All that are in the cluster: those that were removed are away."""
        return tuple(n for n in self.running.layout.topology.nodes if n.name not in self.away)

    def at(self, part: str) -> str:
        """Who plays a part; a guest that has none plays itself."""
        return self.cast.get(part, part)

    def remote(self, part: str) -> Remote:
        """The shell of who plays a part."""
        return self.running.remote(self.at(part))

    def node(self, part: str) -> Node:
        """Who plays a part."""
        return self.running.layout.topology.node(self.at(part))

    def note(self, text: str) -> None:
        """Something that the outcome's reader should know."""
        self.notes.append(text)

    async def start_traffic(
        self, udp_a_second: int = UDP_A_SECOND, tick_seconds: float = TICK_SECONDS
    ) -> None:
        self.traffic = await Traffic.start(self.running, udp_a_second, tick_seconds)

    async def status(self, node: str) -> dict[str, Any]:
        """A node's status document, which may be an agent's that is no more.

        Raises:
            LabError: there is none, or it is no JSON.
        """
        return (await self._dated_status(node))[1]

    async def _dated_status(self, node: str) -> tuple[datetime, dict[str, Any]]:
        """The status, and the node's own time when it was read."""
        command = "date +%s && cat /run/geneveil/status.json"
        clock, _, text = (await self.running.remote(node).check(command)).partition("\n")
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise LabError(f"{node}: its status is no JSON", why=text[:200]) from error
        return datetime.fromtimestamp(int(clock), UTC), found

    @property
    def control_plane(self) -> ControlPlane:
        """Who certifies the nodes: the same verbs, whichever it is."""
        return control_plane(self.running)

    async def operator(self, *words: str, check: bool = True) -> Any:
        """`geneveil operator … -o json` on central, as a value."""
        command = ["geneveil", "operator", *words, *self.control_plane.where, "-o", "json"]
        done = await self.running.remote(CENTRAL).run(command)
        if check and done.status:
            raise LabError(f"{' '.join(command)} ended with {done.status}", why=done.stderr[-400:])
        return json.loads(done.stdout) if done.stdout.strip() else {}

    async def await_well(
        self,
        names: Iterable[str] | None = None,
        seconds: float = _WELL_SECONDS,
        apart_from: frozenset[str] = frozenset(),
    ) -> float:
        """Wait until these nodes (or all) say that all is well; return how long it took.

        What was said long ago, by the node's own clock, or is dated ahead of it, does not count: an
        agent that ended says that all is well for ever.

        Args:
            apart_from: health codes that do not count.
        """
        chosen = tuple(names) if names is not None else tuple(n.name for n in self.nodes)
        last: dict[str, str] = {}

        async def condition() -> bool:
            for name in chosen:
                try:
                    clock, found = await self._dated_status(name)
                except GeneveilError as error:
                    last[name] = error.render()
                    return False
                written = found["writtenAt"]
                last[name] = f"{found.get('summary')} {found.get('health')}, {written} at {clock}"
                if not is_well(found, apart_from) or is_stale(found, clock):
                    return False
            return True

        return await wait_until(
            condition,
            f"{', '.join(chosen)} to be well",
            seconds,
            explain=lambda: "; ".join(f"{k}: {v}" for k, v in last.items())[:900],
            poll_seconds=0.3,
        )

    async def await_together(self, names: Iterable[str], seconds: float = _WELL_SECONDS) -> float:
        """Wait until these nodes reach one another and none is due to renew, whoever else is away.

        What `await_well` asks for cannot be while a node is off: its peers say that it is down.
        """
        chosen = tuple(names)
        last = ""

        async def condition() -> bool:
            nonlocal last
            for name in chosen:
                clock, found = await self._dated_status(name)
                last = f"{name} at {clock}: {found.get('certificate')} {found.get('health')}"
                up = {p["chassis"] for p in found["peers"] if p["state"] == "up"}
                renew_at = datetime.fromisoformat(found["certificate"]["renewAt"])
                is_renewed = renew_at > clock
                if not up >= set(chosen) - {name} or not is_renewed or is_stale(found, clock):
                    return False
            return True

        return await wait_until(
            condition,
            f"{', '.join(chosen)} to be up and renewed",
            seconds,
            explain=lambda: last[:900],
            poll_seconds=0.5,
        )

    async def power_off(self, guest: str) -> None:
        """Cut a guest's power: nothing is written, nothing is said."""
        if self.traffic:
            self.traffic.forget(guest)
        self.running.remotes.pop(guest).close()
        await self.running.lab.order("kill", guest)

    async def power_on(self, guest: str, *, until: str = "services") -> None:
        """Boot a guest again, with its disk as it was and the others' time.

        Args:
            until: how far to wait for it; see lab/guest/services.
        """
        disk = self.running.layout.disk(guest)
        (disk / "boot" / "network").unlink(missing_ok=True)
        (disk / "boot" / "services").unlink(missing_ok=True)
        if guest != CENTRAL:
            # A guest boots with the host's time: it has no clock that goes on without power.
            ahead = await read_clock(self.running, CENTRAL) - datetime.now(UTC)
            (disk / "clock-ahead-seconds").write_text(str(int(ahead.total_seconds())))
        await self.running.lab.order("start", guest)
        await self.running.connect(guest)
        await self.running.reached(guest, until)

    def count_frames(self, expression: str) -> int:
        """Frames in the witness's capture that match a pcap-filter(7) expression."""
        return count_frames(self.running.layout.capture, expression)

    async def clear_frames(self) -> int:
        """Geneve frames in clear so far."""
        await asyncio.sleep(0.2)
        return await asyncio.to_thread(self.count_frames, GENEVE_IN_CLEAR)

    async def control(self) -> None:
        """Put Geneve frames in clear on the wire; the witness must see each, and no other.

        Raises:
            LabError: it did not: then "nothing in clear" proves nothing.
        """
        before = await self.clear_frames()
        node = self.nodes[0]
        nobody = node.underlay.network.network_address + _UNUSED_HOST
        for port in CONTROL_PORTS:
            await self.running.remote(node.name).check(
                f"python3 -I /lab/control.py {node.underlay.ip} {nobody} {port}"
            )
        sent = len(CONTROL_PORTS)
        self.controls += sent
        until = time.monotonic() + _CONTROL_SECONDS * patience()
        while (seen := await self.clear_frames() - before) < sent and time.monotonic() < until:
            pass  # it writes as fast as it is let run
        if seen != sent:
            raise LabError(f"the witness saw {seen} control frames, not {sent}")

    async def finish(self) -> "Outcome":
        """Stop traffic, count, run the control; the outcome says what broke a rule."""
        losses = await self.traffic.finish() if self.traffic else ()
        clear = await self.clear_frames()
        await self.control()
        return Outcome(clear, losses, frozenset(self.touched), tuple(self.notes))


@dataclass(frozen=True)
class Outcome:
    """What a scenario cost.

    Attributes:
        clear_frames: Geneve in clear before the control frame.
        losses: every ordered pair.
        touched: nodes that the scenario broke; pairs with one of them may lose packets.
    """

    clear_frames: int
    losses: tuple[PairLoss, ...]
    touched: frozenset[str]
    notes: tuple[str, ...]

    @property
    def untouched(self) -> tuple[PairLoss, ...]:
        return tuple(
            loss for loss in self.losses if not {loss.source, loss.destination} & self.touched
        )

    @property
    def broken_rules(self) -> tuple[str, ...]:
        """Empty if all rules held."""
        broken = []
        if self.clear_frames:
            broken.append(f"{self.clear_frames} Geneve frames in clear")
        broken += [f"untouched pair: {loss}" for loss in self.untouched if not loss.is_whole]
        broken += [f"sent hardly anything: {loss}" for loss in self.losses if loss.is_thin]
        return tuple(broken)
