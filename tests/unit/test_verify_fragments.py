"""Pieces that overlap hide nothing: each of their marks counts, and contradiction is a reason."""

import pytest

from geneveil.verify.flows import Phase, Size
from geneveil.verify.marks import find_marks
from geneveil.verify.verdict import Observed, ReasonCode
from tests import synthetic_wire as wire
from tests.judging import POD_TO_POD, codes, judged, observation_of, texts
from tests.synthetic_lab import Recording, geneve_datagram, underlay

A, B = "192.0.2.11", "192.0.2.12"
HARMLESS = wire.udp(7000, 7007, b"." * 88)
ADDRESSES = {4: (A, B), 6: ("2001:db8::1", "2001:db8::2")}


def piece(data: bytes, offset: int, more: bool, version: int = 4, protocol: int = 17) -> bytes:
    return wire.ethernet(
        wire.ip(*ADDRESSES[version], protocol, data, identification=9, offset=offset, more=more)
    )


def judge_pieces(pieces: list[bytes]) -> set[ReasonCode]:
    return codes(judged(lambda lab: lab.extra.extend(pieces)))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("marked_first", [False, True])
def test_a_second_piece_at_the_same_offset_carries_a_mark(version: int, marked_first: bool) -> None:
    def spoil(lab: Recording) -> None:
        mark = lab.probe().mark
        twins = [
            piece(HARMLESS[48:], 48, False, version),
            piece((b"." * 8 + mark * 3)[: len(HARMLESS) - 48], 48, False, version),
        ]
        twins = twins[::-1] if marked_first else twins
        lab.extra += [*twins, piece(HARMLESS[:48], 0, True, version)]

    verdict = judged(spoil)
    assert codes(verdict) == {ReasonCode.OBSERVATION, ReasonCode.OVERLAPPING_FRAGMENTS}
    assert observation_of(verdict, POD_TO_POD).observed is Observed.CLEAR_AND_ENCRYPTED
    assert "pieces that contradict each other" in texts(verdict)


@pytest.mark.parametrize("geneve_first", [False, True])
@pytest.mark.parametrize("port", [6081, 7777])
def test_a_second_head_is_that_of_clear_geneve(geneve_first: bool, port: int) -> None:
    arp = wire.ethernet(b"\0\1\x08\0\6\4\0\1" + bytes(20), ethertype=0x0806)
    geneve = wire.udp(5, port, wire.geneve(arp))
    heads = [piece(HARMLESS[:48], 0, True), piece(geneve[:48], 0, True)]
    heads = heads[::-1] if geneve_first else heads
    assert judge_pieces([*heads, piece(HARMLESS[48:], 48, False)]) == {
        ReasonCode.OVERLAPPING_FRAGMENTS,
        ReasonCode.GENEVE_IN_CLEAR,
        ReasonCode.FRAGMENTS,
    }


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        (
            "overlap in part",
            [(HARMLESS[:48], 0, True), (b"!" + HARMLESS[41:], 40, False)],
        ),
        (
            "two ends",
            [(HARMLESS[56:], 56, False), (HARMLESS[56:64], 56, False), (HARMLESS[:56], 0, True)],
        ),
        (
            "beyond the end",
            [(HARMLESS[48:56], 48, False), (HARMLESS[56:], 56, True), (HARMLESS[:48], 0, True)],
        ),
    ],
)
def test_pieces_that_contradict_each_other(
    name: str, pieces: list[tuple[bytes, int, bool]]
) -> None:
    frames = [piece(*p) for p in pieces]
    assert judge_pieces(frames) == {ReasonCode.OVERLAPPING_FRAGMENTS}, name


@pytest.mark.parametrize(
    "pieces",
    [
        [(HARMLESS[:48], 0, True), (HARMLESS[:48], 0, True), (HARMLESS[48:], 48, False)],
        [(HARMLESS[:48], 0, True), (HARMLESS[40:], 40, False)],
    ],
)
def test_pieces_that_say_the_same_twice_are_one_packet(
    pieces: list[tuple[bytes, int, bool]],
) -> None:
    assert judge_pieces([piece(*p) for p in pieces]) == set()


def test_a_piece_that_comes_after_the_packet_was_whole() -> None:
    def spoil(lab: Recording) -> None:
        late = lab.probe().mark * 3
        lab.extra += [
            piece(HARMLESS[:48], 0, True),
            piece(HARMLESS[48:], 48, False),
            piece(late, 48, False),
        ]

    assert codes(judged(spoil)) == {ReasonCode.UNFINISHED_FRAGMENTS, ReasonCode.OBSERVATION}


def test_a_mark_that_only_the_whole_packet_shows_is_still_found() -> None:
    def spoil(lab: Recording) -> None:
        data = wire.udp(1, 2, lab.probe().mark)
        pieces = [wire.ip(A, B, 17, data[:16], more=True), wire.ip(A, B, 17, data[16:], offset=16)]
        assert not any(find_marks(p) for p in pieces)
        lab.extra += [wire.ethernet(p) for p in pieces]

    assert codes(judged(spoil)) == {ReasonCode.OBSERVATION}


def test_a_real_probe_in_overlapping_pieces_of_the_control() -> None:
    """The control must be beyond doubt as well."""

    def spoil_control(lab: Recording) -> None:
        probe = lab.probe(size=Size.FULL)
        pieces = wire.fragments(*underlay(lab, probe), 17, geneve_datagram(probe), 512)
        twin = pieces[1][:-1] + b"!"
        lab.frames[probe.id] = [wire.ethernet(p) for p in (pieces[0], twin, *pieces[1:])]

    verdict = judged(spoil_control=spoil_control)
    assert ReasonCode.OVERLAPPING_FRAGMENTS in codes(verdict)
    assert not verdict.phase(Phase.DISABLED).passed


@pytest.mark.parametrize("phase", list(Phase))
def test_geneve_or_esp_in_pieces_is_a_reason_in_both_clusters(phase: Phase) -> None:
    """Though each piece is there, every mark is found and every probe arrived."""

    def spoil(lab: Recording) -> None:
        probe = lab.probe(size=Size.FULL)
        whole = lab.frames[probe.id][0]
        protocol, payload = whole[14 + 9], whole[14 + 20 :]
        pieces = wire.fragments(*underlay(lab, probe), protocol, payload, 512)
        lab.frames[probe.id] = [wire.ethernet(p) for p in pieces]

    enabled = phase is Phase.ENABLED
    verdict = judged(spoil) if enabled else judged(spoil_control=spoil)
    assert codes(verdict) == {ReasonCode.FRAGMENTS}
    assert f"{phase.value}.pcap: 3 frames are pieces of ESP or Geneve packets" in texts(verdict)
    assert f"{'ESP' if enabled else 'Geneve'} from {A} to {B}, 3 frames" in texts(verdict)


def test_a_large_datagram_between_hosts_may_come_in_pieces() -> None:
    pieces = wire.fragments(A, B, 17, wire.udp(7000, 7007, bytes(2000)), 1480)
    verdict = judged(lambda lab: lab.extra.extend(wire.ethernet(p) for p in pieces))
    assert verdict.passed, texts(verdict)
    assert any("IP fragments" in remark for remark in verdict.remarks)
