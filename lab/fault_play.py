"""Plays faults in a row on one cluster, and judges each by the rules of `judge_play`.

Rule 1, in every fault: the witness sees no Geneve in clear (and a control frame once, at the end).
Rule 2: pairs that the fault does not touch lose no packet; those it touches recover in time.
Rule 3: where nothing may change, SPIs and policies are as before.
Rule 4: what others have on the nodes is as before.
Rule 5: the fault is named, with a remedy, and the name goes away with it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from geneveil.model.errors import GeneveilError
from lab import belongings
from lab.bringup import agent_log
from lab.capture_slice import CaptureSlice
from lab.errors import LabError
from lab.fault import Belonging, Fault
from lab.fault_evidence import keep_evidence
from lab.fault_kernel import SAS_OF_A_PAIR, judge_kernels, read_kernels
from lab.fault_rules import (
    SHOWN_FROM_SECONDS,
    FaultOutcome,
    judge_losses,
    judge_says,
    logged_codes,
    recovery_seconds,
)
from lab.health import LINGERING
from lab.intruder import GENEVE_IN_CLEAR
from lab.stage import Stage
from lab.traffic import Mark, Traffic

SETTLE_SECONDS = 0.5
WORTH_A_WORD_SECONDS = 5.0
MOST_LOOKS = 60
"""At a pair that has more; then the fault is played all the same."""


_POLL_SECONDS = 0.4


@dataclass
class _Notes:
    """What is gathered while a fault is played."""

    logged: dict[str, set[str]] = field(default_factory=dict)
    unhelpful: list[str] = field(default_factory=list)
    shown: dict[str, set[str]] = field(default_factory=dict)


class FaultPlayer:
    """Plays faults on one stage; windows of traffic join without a gap.

    Args:
        slack: how many times as long as they should take outages and recoveries may take here.
    """

    def __init__(
        self, stage: Stage, say: Callable[[str], None] = lambda text: None, slack: float = 1.0
    ) -> None:
        if stage.traffic is None:
            raise LabError("faults are played under traffic: start it first")
        self.stage = stage
        self.say = say
        self._slack = slack
        self._slice = CaptureSlice(stage.running.layout.capture)
        self._mark: Mark | None = None
        self._offsets: dict[str, int] = {}

    @property
    def _traffic(self) -> Traffic:
        assert self.stage.traffic is not None  # noqa: S101  looked at in __init__
        return self.stage.traffic

    @property
    def _names(self) -> list[str]:
        return [node.name for node in self.stage.nodes]

    async def play(self, fault: Fault) -> FaultOutcome:
        """Play one fault.

        Raises:
            LabError: the cluster did not come back, so that no other can be played on it.
        """
        self.say(f"{fault.name}: {fault.title}")
        noted = len(self.stage.notes)
        try:
            played = await self._play(fault)
        except (GeneveilError, AssertionError) as error:
            folder = await keep_evidence(self.stage, fault.name, self._slice)
            why = error.render() if isinstance(error, GeneveilError) else str(error)
            raise LabError(f"fault {fault.name}", why=why, remedy=f"evidence: {folder}") from error
        for text in self.stage.notes[noted:]:
            self.say(f"{fault.name}: {text}")
        if played.broken:
            folder = await keep_evidence(self.stage, fault.name, self._slice)
            self.say(f"{fault.name}: BROKEN: {'; '.join(played.broken)}; evidence: {folder}")
        else:
            self.say(
                f"{fault.name}: as it must be; lost {sum(a.lost_packets for a in played.touched)}"
                f" on touched pairs, longest outage {played.outage_seconds:.2f} s, back after "
                f"{played.recovery_seconds:.2f} s; named: {played.named or 'nothing'}"
            )
        return played

    async def _play(self, fault: Fault) -> FaultOutcome:
        stage, notes = self.stage, _Notes()
        await self._await_well(fault.well_seconds)
        if self._mark is None:
            await belongings.put(stage.running, self._names)
        await self._await_single()
        addresses = self._addresses()
        others, held = await asyncio.gather(
            belongings.read(stage.running, self._names), read_kernels(stage)
        )
        self._remember_logs()
        self._slice.begin_here()
        begin = self._mark or await self._traffic.mark()
        moment = await self._traffic.mark()
        await fault.inject(stage)
        await self._hold(fault, notes, self._slack)
        if fault.heal is not None:
            moment = await self._traffic.mark()
            await fault.heal(stage)
        well_after = await self._await_well(fault.well_seconds)
        await asyncio.sleep(SETTLE_SECONDS)
        await self._await_well(fault.well_seconds)
        if fault.takes:
            await belongings.put(stage.running, self._names, fault.takes)
        self._mark = end = await self._traffic.mark()
        await asyncio.sleep(SETTLE_SECONDS)
        losses = await self._traffic.losses_between(begin, end)
        await self._await_log(fault)
        self._slice.advance()
        clear = await asyncio.to_thread(self._slice.count, GENEVE_IN_CLEAR)
        self._read_logs(notes)
        others_after, held_after = await asyncio.gather(
            belongings.read(stage.running, self._names), read_kernels(stage)
        )
        named = {node: sorted(found) for node, found in notes.logged.items() if found}
        stayed = tuple(name for name in self._names if name in held.spis)
        recovery = recovery_seconds(fault, losses, moment)
        played = FaultOutcome(fault, stayed, clear, losses, recovery, named, well_after)
        broken = [
            *judge_losses(played, self._slack),
            *judge_says(fault, notes.logged, notes.shown, notes.unhelpful),
            *judge_kernels(fault, addresses | self._addresses(), held, held_after),
            *belongings.changes(_of(others, stayed), _of(others_after, stayed)),
        ]
        return replace(played, broken=tuple(broken))

    async def _await_single(self) -> None:
        """Let doubles that an earlier fault left be settled: that makes and ends SAs by itself."""
        begun, doubles = time.monotonic(), ""
        for _ in range(MOST_LOOKS):
            pairs: Counter[tuple[str, frozenset[str]]] = Counter()
            for node, spis in (await read_kernels(self.stage)).spis.items():
                pairs.update((node, frozenset(ends)) for *ends, _ in spis)
            found = {key: count for key, count in pairs.items() if count > SAS_OF_A_PAIR}
            if not found:
                break
            doubles = ", ".join(
                f"{count} SAs of {' and '.join(sorted(ends))} on {node}"
                for (node, ends), count in sorted(found.items(), key=str)
            )
            await asyncio.sleep(SETTLE_SECONDS)
        if (seconds := time.monotonic() - begun) > WORTH_A_WORD_SECONDS:
            self.say(f"waited {seconds:.0f} s for doubles to settle; last: {doubles}")

    async def _await_well(self, seconds: float) -> float:
        return await self.stage.await_well(seconds=seconds, apart_from=LINGERING)

    async def _hold(self, fault: Fault, notes: _Notes, slack: float) -> None:
        """Wait while it lasts, and note what every node's status says meanwhile; with slack for
        longer, where what is to be said is not said yet."""
        begun = time.monotonic()
        until, last = begun + fault.hold_seconds, begun + fault.hold_seconds * slack
        is_to_show = fault.hold_seconds >= SHOWN_FROM_SECONDS
        while True:
            await self._look(notes)
            now = time.monotonic()
            is_said = not is_to_show or all(
                wanted <= notes.shown.get(node, set()) for node, wanted in fault.says.items()
            )
            if now >= (until if is_said else last):
                return
            await asyncio.sleep(min(_POLL_SECONDS, until - now) if now < until else _POLL_SECONDS)

    async def _await_log(self, fault: Fault) -> None:
        """Let nodes that have much else to do write down what is to be in their logs."""
        until = time.monotonic() + SETTLE_SECONDS * (self._slack - 1) * 10
        while time.monotonic() < until:
            notes = _Notes()
            self._read_logs(notes)
            if all(wanted <= notes.logged.get(node, set()) for node, wanted in fault.says.items()):
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _look(self, notes: _Notes) -> None:
        async def look(name: str) -> None:
            try:
                found = await asyncio.wait_for(self.stage.status(name), 5)
            except (GeneveilError, TimeoutError):
                return  # a node that is off says nothing
            seen = {str(value["code"]) for value in found.get("health", [])}
            notes.shown.setdefault(name, set()).update(seen)

        await asyncio.gather(*(look(name) for name in self._names))

    def _addresses(self) -> dict[str, str]:
        return {str(node.underlay.ip): node.name for node in self.stage.nodes}

    def _remember_logs(self) -> None:
        for node in self.stage.nodes:
            path = agent_log(self.stage.running.layout, node)
            self._offsets[node.name] = path.stat().st_size if path.exists() else 0

    def _read_logs(self, notes: _Notes) -> None:
        for node in self.stage.nodes:
            with agent_log(self.stage.running.layout, node).open("rb") as file:
                file.seek(self._offsets.get(node.name, 0))
                whole_lines, _, _half = file.read().rpartition(b"\n")
            text = whole_lines.decode(errors="replace")
            notes.logged[node.name], unhelpful = logged_codes(text)
            notes.unhelpful += [f"{node.name}: {line[:160]}" for line in unhelpful]


def _of(
    found: dict[tuple[str, Belonging], str], nodes: tuple[str, ...]
) -> dict[tuple[str, Belonging], str]:
    return {key: text for key, text in found.items() if key[0] in nodes}
