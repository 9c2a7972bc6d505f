"""What no probe can show: control, coverage, keys, and whether the witness can be believed."""

from dataclasses import replace
from datetime import timedelta

import pytest

from geneveil.verify.flows import Direction, FlowKind, Phase
from geneveil.verify.verdict import Observed, ReasonCode
from tests import synthetic_wire as wire
from tests.judging import POD_TO_POD, codes, judged, observation_of, texts
from tests.synthetic_lab import (
    BOOT,
    Recipe,
    Recording,
    judge_recordings,
    packet,
    plain,
    record,
)


@pytest.mark.parametrize("kind", [k for k in FlowKind if k is not FlowKind.POD_TO_POD_SAME_NODE])
def test_missing_control(kind: FlowKind) -> None:
    def spoil_control(lab: Recording) -> None:
        lab.frames[lab.probe(kind).id] = []

    verdict = judged(spoil_control=spoil_control)
    assert codes(verdict) == {ReasonCode.OBSERVATION, ReasonCode.NO_CONTROL}
    assert "prove nothing" in texts(verdict)
    row = next(r for r in verdict.phase(Phase.ENABLED).flows if r.kind is kind)
    assert not row.passed


def test_control_in_another_carrier_is_no_control() -> None:
    def spoil_control(lab: Recording) -> None:
        probe = lab.probe()
        lab.frames[probe.id] = [plain(lab, probe)]

    verdict = judged(spoil_control=spoil_control)
    assert codes(verdict) == {ReasonCode.OBSERVATION, ReasonCode.NO_CONTROL}
    assert "seen in plain IP, not in Geneve" in texts(verdict)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("kind", list(FlowKind))
def test_a_square_of_the_matrix_that_was_never_probed(phase: Phase, kind: FlowKind) -> None:
    def spoil(lab: Recording) -> None:
        probe = lab.probe(kind, direction=Direction.REPLY)
        lab.drop_probe(probe)
        lab.frames[probe.id] = []

    verdict = judged(spoil) if phase is Phase.ENABLED else judged(spoil_control=spoil)
    assert ReasonCode.OBSERVATION in codes(verdict)
    assert "observed not probed" in texts(verdict)


def test_no_probes_at_all() -> None:
    def spoil(lab: Recording) -> None:
        lab.change(probes=())
        lab.frames = {}

    assert not judged(spoil, spoil_control=spoil).passed


def test_missing_keys() -> None:
    verdict = judged(lambda lab: lab.change(sa_keys=()))
    assert codes(verdict) == {ReasonCode.OBSERVATION}
    assert observation_of(verdict, POD_TO_POD).observed is Observed.NOT_DECRYPTED
    assert "no key for this SPI" in texts(verdict)
    same_node = next(
        r for r in verdict.phase(Phase.ENABLED).flows if r.kind is FlowKind.POD_TO_POD_SAME_NODE
    )
    assert same_node.observed is Observed.NOT_DECRYPTED
    assert any("could not be decrypted" in remark for remark in verdict.remarks)


def test_wrong_key() -> None:
    def spoil(lab: Recording) -> None:
        lab.change(sa_keys=tuple(replace(sa, key=bytes(32)) for sa in lab.evidence.sa_keys))

    verdict = judged(spoil)
    assert observation_of(verdict, POD_TO_POD).observed is Observed.NOT_DECRYPTED
    assert "the integrity check fails" in texts(verdict)


def test_one_flipped_bit_is_not_decrypted() -> None:
    def spoil(lab: Recording) -> None:
        frame = bytearray(lab.frames[POD_TO_POD][0])
        frame[60] ^= 1
        lab.frames[POD_TO_POD] = [bytes(frame)]

    assert observation_of(judged(spoil), POD_TO_POD).observed is Observed.NOT_DECRYPTED


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"frames_dropped": 1}, ReasonCode.WITNESS_DROPPED),
        ({"frames_captured": 5}, ReasonCode.WITNESS_COUNT),
        ({"witness_started_at": BOOT + timedelta(milliseconds=1)}, ReasonCode.WITNESS_LATE),
        (
            {"witness_stopped_at": BOOT + timedelta(seconds=59)},
            ReasonCode.WITNESS_ENDED_EARLY,
        ),
        (
            {
                "witness_started_at": BOOT + timedelta(hours=1),
                "first_boot_at": BOOT + timedelta(hours=1),
                "last_halt_at": BOOT + timedelta(hours=2),
                "witness_stopped_at": BOOT + timedelta(hours=2),
            },
            ReasonCode.WITNESS_CLOCK,
        ),
    ],
)
def test_a_witness_that_cannot_be_believed(
    phase: Phase, fields: dict[str, object], code: ReasonCode
) -> None:
    def spoil(lab: Recording) -> None:
        lab.change(**fields)

    verdict = judged(spoil) if phase is Phase.ENABLED else judged(spoil_control=spoil)
    assert codes(verdict) == {code}
    assert verdict.reasons[0].phase is phase


def test_empty_capture() -> None:
    def spoil(lab: Recording) -> None:
        lab.frames, lab.extra = {}, []

    verdict = judged(spoil)
    assert {ReasonCode.EMPTY_CAPTURE, ReasonCode.OBSERVATION} == codes(verdict)


def test_frames_that_were_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    disabled, enabled = record(Phase.DISABLED), record(Phase.ENABLED)
    first, *others = enabled.all_frames()
    cut = [first._replace(wire_bytes=2000), *others]
    monkeypatch.setattr(enabled, "all_frames", lambda: cut)
    assert codes(judge_recordings(disabled, enabled)) == {ReasonCode.CUT_FRAMES}


def test_a_frame_that_cannot_be_parsed() -> None:
    def spoil(lab: Recording) -> None:
        lab.extra.append(wire.ethernet(b"\x45" + bytes(10)))

    assert codes(judged(spoil)) == {ReasonCode.MALFORMED_FRAMES}


def test_clusters_of_other_nodes_are_not_compared() -> None:
    verdict = judge_recordings(record(Phase.DISABLED), record(Phase.ENABLED, Recipe(nodes=3)))
    assert ReasonCode.NODES in codes(verdict)


def test_stray_marks_and_esp_in_the_control_are_remarked_on() -> None:
    def spoil_control(lab: Recording) -> None:
        stray = replace(lab.probe(), mark=lab.probe().mark[:15] + b"!")
        lab.extra.append(wire.ethernet(packet(stray)))
        lab.extra.append(wire.ethernet(wire.ip("192.0.2.11", "192.0.2.12", 50, bytes(40))))

    remarks = "\n".join(judged(spoil_control=spoil_control).remarks)
    assert "carry a mark that is none" in remarks
    assert "there is ESP in the cluster with IPsec off" in remarks
