"""Somebody on the underlay injects Geneve in clear, and plays back and forges ESP."""

import asyncio
import json

from lab import intruder
from lab.capture_slice import CaptureSlice
from lab.deadline import wait_until
from lab.fault import EVERYTHING, Fault, Keeps, Part, Step
from lab.stage import Stage

TITLE = "An intruder on the underlay sends Geneve in clear, and ESP played back or forged"
NODES = 3
_CLAIMED, _VICTIM = "node1", "node2"
_FROM_INTRUDER = f"ether src {intruder.INTRUDER_MAC}"
_ROUNDS, _PAUSE_SECONDS = 20, 0.5
_ESP_FRAMES = 300
_SEQUENCE = slice(38, 42)
"""Of an ESP packet in IPv4 without options in an Ethernet frame (RFC 4303, 2)."""

_AHEAD = 1_000_000
_SECONDS = 20.0
# What counts his packets is to go on counting, and what he records is to be on the wire.
_CLAIMS = EVERYTHING - {Part.FILES, Part.CLOCK, Part.OPERATOR}
# A code is said until nothing came for a minute.
_WELL_SECONDS = 150.0


async def _dropped(stage: Stage) -> int:
    text = await stage.remote(_VICTIM).run("geneveil guard show -o json")
    return int(json.loads(text.stdout)["counters"]["cleartext_in"]["packets"])


class _Injection:
    """Geneve in clear towards a pod, for as long as the fault is held."""

    def __init__(self) -> None:
        self.dropped = self.received = self.on_wire = 0
        self.sending: asyncio.Task[None] | None = None

    async def begin(self, stage: Stage) -> None:
        victim = stage.node(_VICTIM)
        pod = victim.pods[0]
        path = await intruder.read_path(stage.running, victim, pod)
        frame = intruder.forge_geneve(stage.node(_CLAIMED), victim, pod, path)
        self.dropped = await _dropped(stage)
        self.received = await intruder.unclaimed_udp(stage.running, pod)
        self.on_wire = await asyncio.to_thread(stage.count_frames, _FROM_INTRUDER)
        self.sending = asyncio.create_task(
            intruder.send(stage.running, [frame], _ROUNDS, _PAUSE_SECONDS)
        )

    async def end(self, stage: Stage) -> None:
        assert self.sending is not None
        await self.sending

        async def all_dropped() -> bool:
            return await _dropped(stage) >= self.dropped + _ROUNDS

        await wait_until(all_dropped, f"{_VICTIM}'s guard to drop all {_ROUNDS} frames", _SECONDS)
        on_wire = await asyncio.to_thread(stage.count_frames, _FROM_INTRUDER)
        assert on_wire == self.on_wire + _ROUNDS, "the witness did not see what was injected"
        pod = stage.node(_VICTIM).pods[0]
        received = await intruder.unclaimed_udp(stage.running, pod)
        assert received == self.received, f"the pod got {received - self.received} forged packets"


async def _counted(stage: Stage, name: str) -> int:
    text = await stage.remote(_VICTIM).check("cat /proc/net/xfrm_stat")
    return next(int(line.split()[1]) for line in text.splitlines() if line.split()[0] == name)


def _ahead(frame: bytes) -> bytes:
    """The same with a sequence number that is yet to come: no replay, and the seal does not fit."""
    number = int.from_bytes(frame[_SEQUENCE], "big") + _AHEAD
    return frame[: _SEQUENCE.start] + number.to_bytes(4, "big") + frame[_SEQUENCE.stop :]


def _esp(counter: str, *, forged: bool) -> Step:
    async def begin(stage: Stage) -> None:
        layout = stage.running.layout
        ends = stage.node(_CLAIMED), stage.node(_VICTIM)
        recent = CaptureSlice(layout.capture)
        frames: list[bytes] = []

        async def recorded() -> bool:
            recent.advance()
            copy = layout.capture.with_name("recorded.pcap")
            frames[:] = await asyncio.to_thread(intruder.record_esp, recent, *ends, copy)
            return len(frames) >= _ESP_FRAMES

        await wait_until(recorded, f"{_ESP_FRAMES} ESP frames on the wire", _SECONDS)
        sent = [_ahead(frame) if forged else frame for frame in frames[:_ESP_FRAMES]]
        before = await _counted(stage, counter)
        await intruder.send(stage.running, sent)

        async def all_counted() -> bool:
            return await _counted(stage, counter) >= before + len(sent)

        await wait_until(all_counted, f"{_VICTIM}'s kernel to drop every packet", _SECONDS)

    return begin


_GENEVE = _Injection()

FAULTS = (
    Fault(
        "geneve_injected",
        "intruder: Geneve in clear sent to a pod in a node's name, for 10 s",
        _GENEVE.begin,
        _GENEVE.end,
        hold_seconds=_ROUNDS * _PAUSE_SECONDS,
        says={_VICTIM: frozenset({"cleartext-in-grows"})},
        keeps=Keeps.ALL,
        claims=_CLAIMS,
        well_seconds=_WELL_SECONDS,
        is_long=True,
    ),
    Fault(
        "esp_replayed",
        f"intruder: {_ESP_FRAMES} recorded ESP packets sent once more",
        _esp("XfrmInStateSeqError", forged=False),
        hold_seconds=5.0,
        says={_VICTIM: frozenset({"esp-replayed"})},
        keeps=Keeps.ALL,
        claims=_CLAIMS,
    ),
    Fault(
        "esp_forged",
        f"intruder: {_ESP_FRAMES} ESP packets sent with an SA's SPI but not with its key",
        _esp("XfrmInStateProtoError", forged=True),
        hold_seconds=5.0,
        says={_VICTIM: frozenset({"esp-forged"})},
        keeps=Keeps.ALL,
        claims=_CLAIMS,
        well_seconds=_WELL_SECONDS,
        is_long=True,
    ),
)
