"""The judge passes what is right, and each thing that may go wrong turns the verdict."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from geneveil.verify.flows import FlowKind, Phase, Protocol, Size
from geneveil.verify.verdict import Observed, ReasonCode
from tests import synthetic_wire as wire
from tests.judging import POD_TO_POD, codes, judged, observation_of, texts
from tests.synthetic_lab import (
    Recipe,
    Recording,
    carry,
    clear_geneve,
    geneve_datagram,
    judge_recordings,
    packet,
    plain,
    record,
    sealed,
    underlay,
)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(Recipe(), id="two nodes"),
        pytest.param(Recipe(nodes=3), id="three nodes"),
        pytest.param(Recipe(ipv6_underlay=True), id="IPv6 underlay"),
        pytest.param(Recipe(ipv6_pods=True, ipv6_underlay=True), id="IPv6 pods"),
        pytest.param(Recipe(nat_traversal=True), id="NAT-T"),
        pytest.param(Recipe(esn=False), id="32-bit sequence numbers"),
        pytest.param(Recipe(sequence=(3 << 32) - 20), id="ESN rolls over within the capture"),
        pytest.param(
            Recipe(sequence=(0x12345 << 32) + 5, told_sequence_high=0x12345), id="ESN as told"
        ),
    ],
)
def test_all_is_well(recipe: Recipe) -> None:
    verdict = judged(recipe=recipe)
    assert verdict.passed, texts(verdict)
    assert verdict.reasons == ()
    assert all(row.passed for phase in verdict.phases for row in phase.flows)


def test_what_a_pass_says_of_each_kind_of_flow() -> None:
    verdict = judged()
    seen = {row.kind: row for row in verdict.phase(Phase.ENABLED).flows}
    overlay = seen[FlowKind.POD_TO_POD]
    assert overlay.observed is Observed.ENCRYPTED
    assert overlay.decrypted
    assert overlay.ciphers == ("AES-GCM-16-256",)
    assert overlay.modes == ("transport",)
    assert (overlay.frames_clear, overlay.frames_esp) == (0, 12)
    assert overlay.spis == ("c0000001", "c0000002")
    assert seen[FlowKind.HOST_TO_POD].observed is Observed.ENCRYPTED
    assert seen[FlowKind.POD_TO_POD_SAME_NODE].observed is Observed.STAYED
    assert seen[FlowKind.HOST_TO_HOST].observed is Observed.CLEAR
    assert seen[FlowKind.POD_TO_HOST].observed is Observed.CLEAR
    assert seen[FlowKind.POD_TO_HOST].frames_esp == 0
    control = {row.kind: row.observed for row in verdict.phase(Phase.DISABLED).flows}
    assert control[FlowKind.POD_TO_POD] is Observed.CLEAR
    assert control[FlowKind.POD_TO_POD_SAME_NODE] is Observed.STAYED


def test_a_verdict_holds_no_key() -> None:
    recording = record(Phase.ENABLED)
    text = repr(judge_recordings(record(Phase.DISABLED), recording))
    for sa in recording.evidence.sa_keys:
        assert sa.key.hex() not in text
        assert repr(sa.key) not in text


def test_removed_guard_and_connection() -> None:
    def spoil(lab: Recording) -> None:
        probe = lab.probe()
        lab.frames[probe.id] = [clear_geneve(lab, probe)]

    verdict = judged(spoil)
    assert not verdict.passed
    assert codes(verdict) == {ReasonCode.GENEVE_IN_CLEAR, ReasonCode.OBSERVATION}
    enabled = verdict.phase(Phase.ENABLED)
    assert enabled.clear_geneve_frames == 1
    (offender,) = enabled.clear_geneve_first
    assert offender.probes == (POD_TO_POD,)
    assert (offender.source, offender.destination) == ("192.0.2.11", "192.0.2.12")
    assert POD_TO_POD in texts(verdict)
    assert f"frame {offender.frame} at 12:00:05" in texts(verdict)
    assert observation_of(verdict, POD_TO_POD).observed is Observed.CLEAR


def test_mark_in_clear_as_well_as_in_esp() -> None:
    def spoil(lab: Recording) -> None:
        probe = lab.probe()
        lab.frames[probe.id].append(plain(lab, probe))

    verdict = judged(spoil)
    assert codes(verdict) == {ReasonCode.OBSERVATION}
    assert observation_of(verdict, POD_TO_POD).observed is Observed.CLEAR_AND_ENCRYPTED


def test_one_clear_geneve_frame_without_any_mark_fails_everything() -> None:
    def spoil(lab: Recording) -> None:
        arp = wire.ethernet(bytes(28), ethertype=0x0806)
        datagram = wire.udp(5, 6081, wire.geneve(arp))
        lab.extra.insert(0, wire.ethernet(wire.ip("192.0.2.11", "192.0.2.12", 17, datagram)))

    verdict = judged(spoil)
    assert codes(verdict) == {ReasonCode.GENEVE_IN_CLEAR}
    assert verdict.phase(Phase.ENABLED).clear_geneve_first[0].frame == 1


@pytest.mark.parametrize(
    ("name", "datagram"),
    [
        ("to an unknown port", lambda p: wire.udp(5, 7777, geneve_datagram(p)[8:])),
        ("not even Geneve, but to its port", lambda p: wire.udp(5, 6081, b"?")),
    ],
)
def test_geneve_is_known_by_port_and_by_shape(name: str, datagram: Callable[..., bytes]) -> None:
    def spoil(lab: Recording) -> None:
        payload = datagram(lab.probe())
        lab.extra.append(wire.ethernet(wire.ip("192.0.2.11", "192.0.2.12", 17, payload), vlan=5))

    assert ReasonCode.GENEVE_IN_CLEAR in codes(judged(spoil)), name


@pytest.mark.parametrize("size", [48, 512])
def test_fragmented_clear_geneve_is_found(size: int) -> None:
    def spoil(lab: Recording) -> None:
        probe = lab.probe(size=Size.FULL)
        pieces = wire.fragments(*underlay(lab, probe), 17, geneve_datagram(probe), size)
        lab.frames[probe.id] = [wire.ethernet(piece) for piece in reversed(pieces)]

    verdict = judged(spoil)
    assert {
        ReasonCode.GENEVE_IN_CLEAR,
        ReasonCode.OBSERVATION,
        ReasonCode.FRAGMENTS,
    } == codes(verdict)


def test_fragmented_esp_is_put_together_and_decrypted() -> None:
    def spoil(lab: Recording) -> None:
        probe = lab.probe(size=Size.FULL)
        esp = lab.frames[probe.id][0][14 + 20 :]
        pieces = wire.fragments(*underlay(lab, probe), 50, esp, 512)
        lab.frames[probe.id] = [wire.ethernet(piece) for piece in pieces]

    verdict = judged(spoil)
    assert codes(verdict) == {ReasonCode.FRAGMENTS}  # and the probe in it is as it must be
    assert verdict.phase(Phase.ENABLED).capture.counts.fragments == 3


def test_a_piece_of_a_packet_that_never_became_whole() -> None:
    def spoil(lab: Recording) -> None:
        probe = lab.probe(size=Size.FULL)
        pieces = wire.fragments(*underlay(lab, probe), 17, geneve_datagram(probe), 512)
        lab.extra += [wire.ethernet(piece) for piece in pieces[1:]]

    verdict = judged(spoil)
    assert {ReasonCode.UNFINISHED_FRAGMENTS, ReasonCode.OBSERVATION} == codes(verdict)


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        (Recipe(key_bytes=16), "AES-GCM-16-128"),
        (Recipe(key_bytes=24), "AES-GCM-16-192"),
        (Recipe(icv_bits=64), "AES-GCM-8-256"),
        (Recipe(icv_bits=96), "AES-GCM-12-256"),
        (Recipe(algorithm="cbc(aes)"), "cbc(aes), 256-bit key"),
        (Recipe(algorithm="rfc7539esp(chacha20,poly1305)"), "rfc7539esp(chacha20,poly1305)"),
    ],
)
def test_wrong_cipher_is_named(recipe: Recipe, named: str) -> None:
    verdict = judged(recipe=recipe)
    assert {ReasonCode.WRONG_CIPHER, ReasonCode.OBSERVATION} == codes(verdict)
    assert f"SAs use {named}" in texts(verdict)
    assert f"observed wrong cipher ({named}" in texts(verdict)
    assert observation_of(verdict, POD_TO_POD).observed is Observed.WRONG_CIPHER


def test_null_encryption_is_clear_whatever_it_is_called() -> None:
    def spoil(lab: Recording) -> None:
        lab.change(
            sa_keys=tuple(
                replace(sa, algorithm="ecb(cipher_null)", key=b"", salt=b"")
                for sa in lab.evidence.sa_keys
            )
        )
        for probe in lab.evidence.probes:
            if lab.frames[probe.id] and probe.kind in (FlowKind.POD_TO_POD, FlowKind.HOST_TO_POD):
                esp = bytes.fromhex("c000000100000001") + geneve_datagram(probe) + bytes(18)
                lab.frames[probe.id] = [wire.ethernet(wire.ip(*underlay(lab, probe), 50, esp))]

    verdict = judged(spoil)
    assert observation_of(verdict, POD_TO_POD).observed is Observed.CLEAR
    assert ReasonCode.GENEVE_IN_CLEAR in codes(verdict)
    assert "the ESP does not encrypt" in texts(verdict)
    assert "no encryption (ecb(cipher_null))" in texts(verdict)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(wire_mode="tunnel", kernel_mode="tunnel"),
        Recipe(wire_mode="tunnel", kernel_mode="tunnel", ipv6_underlay=True),
    ],
)
def test_tunnel_mode(recipe: Recipe) -> None:
    verdict = judged(recipe=recipe)
    assert {ReasonCode.TUNNEL_MODE, ReasonCode.OBSERVATION} == codes(verdict)
    assert observation_of(verdict, POD_TO_POD).observed is Observed.TUNNEL_MODE


def test_tunnel_mode_is_seen_on_the_wire_though_the_kernel_says_transport() -> None:
    verdict = judged(recipe=Recipe(wire_mode="tunnel"))
    assert codes(verdict) == {ReasonCode.OBSERVATION}
    assert "observed tunnel mode" in texts(verdict)


def test_dead_pod() -> None:
    def spoil(lab: Recording) -> None:
        probe = lab.probe()
        lab.replace_probe(replace(probe, received_by=()))
        lab.frames[probe.id] = []

    verdict = judged(spoil)
    assert codes(verdict) == {ReasonCode.OBSERVATION}
    assert observation_of(verdict, POD_TO_POD).observed is Observed.NOT_DELIVERED


@pytest.mark.parametrize("kind", list(FlowKind))
def test_seen_on_the_wire_but_never_delivered(kind: FlowKind) -> None:
    def spoil(lab: Recording) -> None:
        lab.replace_probe(replace(lab.probe(kind), received_by=()))

    assert codes(judged(spoil)) == {ReasonCode.OBSERVATION}


@pytest.mark.parametrize("kind", [k for k in FlowKind if k is not FlowKind.POD_TO_POD_SAME_NODE])
def test_delivered_but_unseen_across_nodes(kind: FlowKind) -> None:
    def spoil(lab: Recording) -> None:
        lab.frames[lab.probe(kind).id] = []

    verdict = judged(spoil)
    assert codes(verdict) == {ReasonCode.OBSERVATION}
    assert "observed unseen" in texts(verdict)


@pytest.mark.parametrize("kind", list(FlowKind))
def test_delivered_to_another_pod_of_the_right_node(kind: FlowKind) -> None:
    """Alone, or beside the right one."""
    probe = record(Phase.ENABLED).probe(kind)
    for also, observed in (((), Observed.NOT_DELIVERED), ((probe.destination.name,), None)):

        def spoil(lab: Recording, also: tuple[str, ...] = also) -> None:
            there = lab.probe(kind)
            lab.replace_probe(replace(there, received_by=(*also, "another-pod")))
            if not also:
                lab.frames[there.id] = []

        verdict = judged(spoil)
        assert codes(verdict) == {ReasonCode.OBSERVATION}
        assert "it arrived at another-pod" in texts(verdict)
        seen = observation_of(verdict, probe.id)
        assert observed in (None, seen.observed)


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("kind", [k for k in FlowKind if k is not FlowKind.POD_TO_POD_SAME_NODE])
@pytest.mark.parametrize("phase", list(Phase))
def test_a_probe_of_full_size_must_be_seen_in_full_size(
    phase: Phase, kind: FlowKind, protocol: Protocol
) -> None:
    """One byte less, and nobody knows whether the pods' MTU fits on the wire."""
    full_bytes = 1500 if kind is FlowKind.HOST_TO_HOST else 1404

    def spoil(lab: Recording) -> None:
        probe = lab.probe(kind, protocol, Size.FULL)
        lab.frames[probe.id] = carry(lab, probe, shorter_bytes=1)

    verdict = judged(spoil) if phase is Phase.ENABLED else judged(spoil_control=spoil)
    assert not verdict.passed
    assert (f"no packet of full size was seen: {full_bytes - 1} bytes, not {full_bytes}") in texts(
        verdict
    )


def test_what_was_seen_says_how_long_it_was() -> None:
    verdict = judged()
    lengths = {
        size: {
            o.packet_bytes
            for row in verdict.phase(Phase.ENABLED).flows
            for o in row.observations
            if o.size is size and row.kind is not FlowKind.POD_TO_POD_SAME_NODE
        }
        for size in Size
    }
    assert lengths[Size.FULL] == {1404, 1500}
    assert max(length or 0 for length in lengths[Size.SMALL]) < 100


def test_traffic_of_one_node_on_the_wire() -> None:
    def spoil(lab: Recording) -> None:
        probe = lab.probe(FlowKind.POD_TO_POD_SAME_NODE)
        lab.frames[probe.id] = [wire.ethernet(packet(probe))]

    assert "expected stayed on the node, observed clear" in texts(judged(spoil))


def test_host_traffic_encrypted_where_it_should_be_clear() -> None:
    def spoil(lab: Recording) -> None:
        probe = lab.probe(FlowKind.HOST_TO_HOST)
        lab.frames[probe.id] = [sealed(lab, probe, packet(probe)[20:])]

    assert "expected clear, observed encrypted" in texts(judged(spoil))


def test_sealed_but_not_in_geneve() -> None:
    def spoil(lab: Recording) -> None:
        probe = lab.probe()
        lab.frames[probe.id] = [sealed(lab, probe, packet(probe)[20:])]

    assert "found in ESP, but not in Geneve inside it" in texts(judged(spoil))


def test_sealed_for_another_pod() -> None:
    def spoil(lab: Recording) -> None:
        probe = lab.probe()
        inner = wire.geneve(wire.ethernet(packet(probe, destination="10.128.2.99")))
        lab.frames[probe.id] = [sealed(lab, probe, wire.udp(5, 6081, inner))]

    verdict = judged(spoil)
    assert "its mark was in a packet that is not the probe" in texts(verdict)
    assert any("10.128.2.99" in p for p in observation_of(verdict, POD_TO_POD).problems)


def test_sealed_between_other_nodes() -> None:
    recipe = Recipe(nodes=3)

    def spoil(lab: Recording) -> None:
        probe = lab.probe()
        elsewhere = replace(probe, destination=replace(probe.destination, node="node3"))
        lab.frames[probe.id] = [sealed(lab, elsewhere, geneve_datagram(probe))]

    assert "which are not its nodes" in texts(judged(spoil, recipe))


def test_echo_reply_is_not_taken_for_its_request() -> None:
    def spoil(lab: Recording) -> None:
        request = lab.probe(protocol=Protocol.ICMP)
        lab.frames[request.id] = []

    verdict = judged(spoil)
    request = "pod_to_pod/node1>node2/icmp/small/request"
    assert observation_of(verdict, request).observed is Observed.UNSEEN
    assert observation_of(verdict, request.replace("request", "reply")).passed


def test_an_icmp_error_that_quotes_a_probe_in_clear() -> None:
    def spoil(lab: Recording) -> None:
        quoted = packet(lab.probe())
        error = wire.ip("192.0.2.12", "192.0.2.11", 1, wire.icmp(3, quoted))
        lab.extra.append(wire.ethernet(error))

    verdict = judged(spoil)
    assert observation_of(verdict, POD_TO_POD).observed is Observed.CLEAR_AND_ENCRYPTED
