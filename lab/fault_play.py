"""Plays faults in a row on one cluster, and judges each by the rules of `judge_play`.

Rule 1, in every fault: the witness sees no Geneve in clear (and a control frame once, at the end).
Rule 2: pairs that the fault does not touch lose no packet; those it touches recover in time.
Rule 3: where nothing may change, SPIs are as before.
Rule 4: what others have on the nodes is as before.
Rule 5: the fault is named, with a remedy, and the name goes away with it.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from geneveil.model.errors import GeneveilError
from lab import belongings
from lab.bringup import agent_log
from lab.capture_slice import CaptureSlice
from lab.errors import LabError
from lab.fault import Fault, Keeps, Pair
from lab.fault_evidence import keep_evidence
from lab.health import LINGERING
from lab.intruder import GENEVE_IN_CLEAR
from lab.stage import Stage
from lab.traffic import Mark, PairLoss, Traffic

SETTLE_SECONDS = 0.5
SAS_OF_A_PAIR = 4
"""Two children, two directions each."""

SHOWN_FROM_SECONDS = 5.0
MOST_LOOKS = 60
"""At a pair that has more; then the fault is played all the same."""


_POLL_SECONDS = 0.4
SLACK_FROM_SECONDS = 30.0
"""With slack nothing that is given any time is given less than this: a busy machine is no fault."""
_STATE = re.compile(r"^src (\S+) dst (\S+)\n\tproto esp spi (0x[0-9a-f]+)", re.MULTILINE)
_CODE = re.compile(r"\bcode=(\S+)")
_REMEDY = re.compile(r'\bremedy=(?!"")\S')


@dataclass(frozen=True)
class FaultOutcome:
    """One fault and what came of it; `broken` is empty if all rules held."""

    fault: Fault
    clear_frames: int
    losses: tuple[PairLoss, ...]
    recovery_seconds: float
    named: dict[str, list[str]]
    well_after_seconds: float
    udp_a_second: int
    broken: tuple[str, ...]

    @property
    def touched(self) -> tuple[PairLoss, ...]:
        return tuple(a for a in self.losses if self.fault.touches_pair((a.source, a.destination)))

    @property
    def untouched(self) -> tuple[PairLoss, ...]:
        return tuple(a for a in self.losses if a not in self.touched)

    @property
    def outage_seconds(self) -> float:
        return max((loss.longest_outage_seconds for loss in self.touched), default=0.0)


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
        try:
            played = await self._play(fault)
        except (GeneveilError, AssertionError) as error:
            folder = await keep_evidence(self.stage, fault.name, self._slice)
            why = error.render() if isinstance(error, GeneveilError) else str(error)
            raise LabError(f"fault {fault.name}", why=why, remedy=f"evidence: {folder}") from error
        if played.broken:
            folder = await keep_evidence(self.stage, fault.name, self._slice)
            self.say(f"{fault.name}: BROKEN: {'; '.join(played.broken)}; evidence: {folder}")
        else:
            self.say(
                f"{fault.name}: as it must be; lost {sum(a.lost_packets for a in played.touched)}"
                f" on touched pairs, longest outage {played.outage_seconds:.2f} s"
            )
        return played

    async def _play(self, fault: Fault) -> FaultOutcome:
        stage, notes = self.stage, _Notes()
        await self._await_well(fault.well_seconds)
        if self._mark is None:
            await belongings.put(stage.running)
        await self._await_single()
        others, spis = await asyncio.gather(belongings.read(stage.running), read_spis(stage))
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
            await belongings.put(stage.running, fault.takes)
        self._mark = end = await self._traffic.mark()
        await asyncio.sleep(SETTLE_SECONDS)
        losses = await self._traffic.losses_between(begin, end)
        await self._await_log(fault)
        self._slice.advance()
        clear = await asyncio.to_thread(self._slice.count, GENEVE_IN_CLEAR)
        self._read_logs(notes)
        others_after, spis_after = await asyncio.gather(
            belongings.read(stage.running), read_spis(stage)
        )
        recovery = recovery_seconds(fault, losses, moment)
        named = {node: sorted(found) for node, found in notes.logged.items() if found}
        rate = losses[0].udp_a_second if losses else 0
        played = FaultOutcome(fault, clear, losses, recovery, named, well_after, rate, ())
        broken = [
            *judge_losses(played, self._slack),
            *judge_says(fault, notes.logged, notes.shown, notes.unhelpful),
            *judge_spis(fault, self._addresses(), spis, spis_after),
            *belongings.changes(others, others_after),
        ]
        return FaultOutcome(fault, clear, losses, recovery, named, well_after, rate, tuple(broken))

    async def _await_single(self) -> None:
        """Let doubles that an earlier fault left be settled: that makes and ends SAs by itself."""
        for _ in range(MOST_LOOKS):
            pairs: Counter[tuple[str, frozenset[str]]] = Counter()
            for node, spis in (await read_spis(self.stage)).items():
                pairs.update((node, frozenset(ends)) for *ends, _ in spis)
            if all(count <= SAS_OF_A_PAIR for count in pairs.values()):
                return
            await asyncio.sleep(SETTLE_SECONDS)

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
                file.seek(self._offsets[node.name])
                whole_lines, _, _half = file.read().rpartition(b"\n")
            text = whole_lines.decode(errors="replace")
            notes.logged[node.name], unhelpful = logged_codes(text)
            notes.unhelpful += [f"{node.name}: {line[:160]}" for line in unhelpful]


def logged_codes(text: str) -> tuple[set[str], list[str]]:
    """Health codes that appeared in an agent's log, and lines of trouble without a remedy."""
    found: set[str] = set()
    unhelpful = []
    for line in text.splitlines():
        match = _CODE.search(line)
        if match is None or 'event="over: ' in line:
            continue
        found.add(match.group(1))
        if not line.startswith("level=info") and not _REMEDY.search(line):
            unhelpful.append(line)
    return found, unhelpful


async def read_spis(stage: Stage) -> dict[str, set[tuple[str, str, str]]]:
    """Of each node's kernel: source, destination and SPI of every SA of the underlay."""
    ours = {str(node.underlay.ip) for node in stage.nodes}

    async def look(name: str) -> set[tuple[str, str, str]]:
        text = await stage.running.remote(name).check("ip xfrm state")
        return {(a, b, spi) for a, b, spi in _STATE.findall(text) if a in ours and b in ours}

    names = [node.name for node in stage.nodes]
    return dict(zip(names, await asyncio.gather(*(look(name) for name in names)), strict=True))


def recovery_seconds(fault: Fault, losses: Iterable[PairLoss], moment: Mark) -> float:
    """From a moment to the last lost packet of the touched pair that took longest."""
    longest = 0.0
    for loss in losses:
        if not loss.lost_ranges or not fault.touches_pair((loss.source, loss.destination)):
            continue
        sent = [
            number
            for (sender, destination), number in moment.sent.items()
            if sender.split("#")[0] == loss.source and destination == loss.destination
        ]
        if sent:
            late = loss.lost_ranges[-1][1] + 1 - sent[-1]
            longest = max(longest, late / loss.udp_a_second)
    return longest


def judge_losses(played: FaultOutcome, slack: float = 1.0) -> list[str]:
    """Rules 1 and 2.

    Args:
        slack: times are allowed to be so many times as long, and half a minute at least.
    """
    fault = played.fault
    broken = [f"{played.clear_frames} Geneve frames in clear"] if played.clear_frames else []
    broken += [f"untouched pair: {loss}" for loss in played.untouched if not loss.is_whole]
    most = _with_slack(fault.most_outage_seconds, slack)
    if most is not None and played.outage_seconds > most:
        worst = max(played.touched, key=lambda loss: loss.longest_outage_seconds)
        broken.append(f"out for {played.outage_seconds:.2f} s, not at most {most:g} s: {worst}")
    most = _with_slack(fault.most_recovery_seconds, slack)
    if most is not None and played.recovery_seconds > most:
        broken.append(f"back after {played.recovery_seconds:.2f} s, not at most {most:g} s")
    return broken


def _with_slack(seconds: float | None, slack: float) -> float | None:
    if not seconds or slack <= 1:
        return seconds
    return max(seconds * slack, SLACK_FROM_SECONDS)


def judge_says(
    fault: Fault,
    logged: dict[str, set[str]],
    shown: dict[str, set[str]],
    unhelpful: list[str],
) -> list[str]:
    """Rule 5; that it goes away again was seen by waiting for it."""
    broken = []
    for node, wanted in fault.says.items():
        if lacking := wanted - logged.get(node, set()):
            broken.append(f"{node}: its log does not name {', '.join(sorted(lacking))}")
        lacking = wanted - shown.get(node, set())
        if lacking and fault.hold_seconds >= SHOWN_FROM_SECONDS:
            broken.append(f"{node}: its status never showed {', '.join(sorted(lacking))}")
    return broken + [f"no remedy: {line}" for line in unhelpful]


def judge_spis(
    fault: Fault,
    addresses: dict[str, str],
    before: dict[str, set[tuple[str, str, str]]],
    after: dict[str, set[tuple[str, str, str]]],
) -> list[str]:
    """Rule 3. A double that an earlier fault left may go: what carries a pair must stay."""
    broken = []
    for node, spis in before.items():
        left = after.get(node, set())
        for source, destination, spi in sorted(spis ^ left):
            pair: Pair = (addresses[source], addresses[destination])
            if fault.keeps is Keeps.NONE:
                continue
            is_new = (source, destination, spi) in left
            of_pair = sum({a, b} == {source, destination} for a, b, _ in left)
            if not is_new and of_pair >= SAS_OF_A_PAIR:
                continue
            if fault.keeps is Keeps.ALL or not fault.touches_pair(pair):
                word = "is new" if is_new else "is gone"
                broken.append(f"{node}: SPI {spi} of {pair[0]} → {pair[1]} {word}")
    return broken
