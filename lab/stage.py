"""What a scenario plays on: a cluster with steady traffic, watched from outside.

Rules that hold in every scenario, and are checked by `finish`:
    the witness sees no Geneve frame in clear, from before the first guest boots to the end, except
    one: a control frame that the scenario itself puts on the wire last;
    pairs of nodes that the scenario does not touch lose no packet.
"""

import asyncio
import json
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from geneveil.model.errors import GeneveilError
from lab.bringup import Running
from lab.clocks import read_clock
from lab.control_plane import ControlPlane, control_plane
from lab.deadline import patience, wait_until
from lab.errors import LabError
from lab.health import is_well
from lab.intruder import GENEVE_IN_CLEAR
from lab.topology import CENTRAL, Node
from lab.traffic import TICK_SECONDS, UDP_A_SECOND, PairLoss, Traffic

_WELL_SECONDS = 60.0
_STALE_SECONDS = 30
_CONTROL_SECONDS = 10.0
_UNUSED_HOST = 200


@dataclass
class Stage:
    """A running cluster with IPsec, in a scenario's hands."""

    running: Running
    traffic: Traffic | None = None
    touched: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.running.layout.topology.nodes

    def note(self, text: str) -> None:
        """Something that the outcome's reader should know."""
        self.notes.append(text)

    async def start_traffic(
        self, udp_a_second: int = UDP_A_SECOND, tick_seconds: float = TICK_SECONDS
    ) -> None:
        self.traffic = await Traffic.start(self.running, udp_a_second, tick_seconds)

    async def status(self, node: str) -> dict[str, Any]:
        """A node's status document.

        Raises:
            LabError: there is none, or it is no JSON.
        """
        text = await self.running.remote(node).check("cat /run/geneveil/status.json")
        try:
            found: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise LabError(f"{node}: its status is no JSON", why=text[:200]) from error
        return found

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

        Args:
            apart_from: health codes that do not count.
        """
        chosen = tuple(names) if names is not None else tuple(n.name for n in self.nodes)
        last: dict[str, str] = {}

        async def condition() -> bool:
            for name in chosen:
                try:
                    found = await self.status(name)
                except GeneveilError as error:
                    last[name] = error.render()
                    return False
                last[name] = f"{found.get('summary')} {found.get('health')}"
                if not is_well(found, apart_from):
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
                clock = await read_clock(self.running, name)
                found = await self.status(name)
                last = f"{name} at {clock}: {found.get('certificate')} {found.get('health')}"
                up = {p["chassis"] for p in found["peers"] if p["state"] == "up"}
                written = datetime.fromisoformat(found["writtenAt"])
                renew_at = datetime.fromisoformat(found["certificate"]["renewAt"])
                is_stale = abs((clock - written).total_seconds()) > _STALE_SECONDS
                if not up >= set(chosen) - {name} or renew_at <= clock or is_stale:
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
        capture = str(self.running.layout.capture)
        command = ["tcpdump", "-nr", capture, "--count", expression]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        words = done.stdout.split()
        if not words or not words[0].isdigit():
            raise LabError("the capture cannot be counted", why=done.stderr[-300:])
        return int(words[0])

    async def clear_frames(self) -> int:
        """Geneve frames in clear so far."""
        await asyncio.sleep(0.2)
        return await asyncio.to_thread(self.count_frames, GENEVE_IN_CLEAR)

    async def control(self) -> None:
        """Put one Geneve frame in clear on the wire; the witness must see it, and one only.

        Raises:
            LabError: it did not: then "nothing in clear" proves nothing.
        """
        before = await self.clear_frames()
        node = self.nodes[0]
        nobody = node.underlay.network.network_address + _UNUSED_HOST
        await self.running.remote(node.name).check(
            f"python3 -I /lab/control.py {node.underlay.ip} {nobody}"
        )
        until = time.monotonic() + _CONTROL_SECONDS * patience()
        while not (seen := await self.clear_frames() - before) and time.monotonic() < until:
            pass  # it writes as fast as it is let run
        if seen != 1:
            raise LabError(f"the witness saw {seen} control frames, not 1")

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
        return tuple(broken)
