"""Nobody can be left out of the evidence, and nothing on the wire goes unnamed."""

import struct
from dataclasses import replace

import pytest

from geneveil.verify.flows import FlowKind, Phase
from geneveil.verify.verdict import ReasonCode
from tests import synthetic_wire as wire
from tests.judging import codes, judged, texts
from tests.synthetic_lab import (
    Recipe,
    Recording,
    geneve_datagram,
    judge_recordings,
    packet,
    record,
    sealed,
)

A, B, STRANGER = "192.0.2.11", "192.0.2.12", "192.0.2.99"
ARP = wire.ethernet(b"\0\1\x08\0\6\4\0\1" + bytes(20), ethertype=0x0806)
BFD = wire.ethernet(wire.ip("10.0.0.1", "10.0.0.2", wire.UDP, wire.udp(49152, 3784, bytes(24))))
BFD_6 = wire.ethernet(wire.ip("fd00::1", "fd00::2", wire.UDP, wire.udp(49152, 3784, bytes(24))))


def name_alone(value: object) -> str:
    return value if isinstance(value, str) else ""


def leave_out(lab: Recording, name: str, *, keep_sas: bool = False) -> None:
    """Take a node, its probes and its SAs out of what is told, and nothing off the wire."""
    gone = next(node for node in lab.evidence.nodes if node.name == name)
    addresses = set(gone.underlay_addresses)
    lab.change(
        nodes=tuple(n for n in lab.evidence.nodes if n is not gone),
        probes=tuple(
            p for p in lab.evidence.probes if name not in (p.source.node, p.destination.node)
        ),
        sa_keys=tuple(
            sa
            for sa in lab.evidence.sa_keys
            if keep_sas or not addresses & {sa.source, sa.destination}
        ),
    )


def test_a_node_that_is_left_out_of_both_clusters() -> None:
    disabled, enabled = (
        record(phase, Recipe(nodes=3)) for phase in (Phase.DISABLED, Phase.ENABLED)
    )
    leave_out(disabled, "node3")
    leave_out(enabled, "node3", keep_sas=True)
    # Only the node's own SAs are known, and they open everything.
    verdict = judge_recordings(disabled, enabled)
    assert codes(verdict) == {ReasonCode.UNLISTED_NODE, ReasonCode.STRAY_MARKS}
    assert "ESP from 192.0.2.11 to 192.0.2.13" in texts(verdict)
    assert "Geneve from 192.0.2.11 to 192.0.2.13" in texts(verdict)
    assert "SAs of or with nodes that are not listed" in texts(verdict)
    assert {r.phase for r in verdict.reasons if r.code is ReasonCode.UNLISTED_NODE} == set(Phase)


def test_a_node_that_is_left_out_and_its_address_given_to_another() -> None:
    disabled, enabled = (
        record(phase, Recipe(nodes=3)) for phase in (Phase.DISABLED, Phase.ENABLED)
    )
    for lab in (disabled, enabled):
        leave_out(lab, "node3", keep_sas=True)
        first, second = lab.evidence.nodes
        both = (*first.underlay_addresses, "192.0.2.13")
        lab.change(
            nodes=(replace(first, underlay_addresses=both), second),
            sa_keys=tuple(
                replace(sa, node="node1" if sa.node == "node3" else sa.node)
                for sa in lab.evidence.sa_keys
            ),
        )
    assert codes(judge_recordings(disabled, enabled)) == {ReasonCode.STRAY_MARKS}


@pytest.mark.parametrize(
    ("what", "protocol", "payload"),
    [
        ("ESP", wire.ESP, bytes(40)),
        ("ESP in UDP", wire.UDP, wire.udp(4500, 4500, b"\1" * 40)),
        ("NAT-T keepalives", wire.UDP, wire.udp(4500, 4500, b"\xff")),
        ("IKE", wire.UDP, wire.udp(500, 500, wire.ike(b""))),
        ("IKE", wire.UDP, wire.udp(4500, 4500, bytes(4) + wire.ike(b""))),
        ("Geneve", wire.UDP, wire.udp(5, 6081, wire.geneve(ARP))),
    ],
    ids=name_alone,
)
@pytest.mark.parametrize("ends", [(A, STRANGER), (STRANGER, A), ("192.0.2.98", STRANGER)])
def test_an_address_that_no_listed_node_has(
    what: str, protocol: int, payload: bytes, ends: tuple[str, str]
) -> None:
    def spoil(lab: Recording) -> None:
        lab.extra.append(wire.ethernet(wire.ip(*ends, protocol, payload)))

    verdict = judged(spoil)
    assert ReasonCode.UNLISTED_NODE in codes(verdict)
    assert f"{what} from {ends[0]} to {ends[1]} (1 frame, first" in texts(verdict)


@pytest.mark.parametrize("kind", [FlowKind.POD_TO_POD, FlowKind.HOST_TO_HOST])
@pytest.mark.parametrize("beside", [b"", "its own"])
def test_a_mark_that_is_no_probes(kind: FlowKind, beside: bytes | str) -> None:
    """In clear or in ESP, alone or in a packet with a probe's own mark."""

    def spoil(lab: Recording) -> None:
        probe = lab.probe(kind)
        stray = probe.mark[:15] + b"!"
        inner = wire.udp(40000, 9999, (probe.mark if beside else b"") + stray)
        ends = (probe.source.address, probe.destination.address)
        whole = wire.ip(*ends, wire.UDP, inner)
        if kind is FlowKind.HOST_TO_HOST:
            lab.extra.append(wire.ethernet(whole))
        else:
            geneve = wire.udp(5, 6081, wire.geneve(wire.ethernet(whole)))
            lab.extra.append(sealed(lab, probe, geneve))

    verdict = judged(spoil)
    assert codes(verdict) == {ReasonCode.STRAY_MARKS}
    assert "1 frame with a mark that is none" in texts(verdict)


def on_udp(port: int, payload: bytes) -> bytes:
    return wire.ip(A, B, wire.UDP, wire.udp(50000, port, payload))


def geneve_with(flags: int, reserved: int, inner: bytes, kind: int = 0x6558) -> bytes:
    return struct.pack("!BBHI", 0, flags, kind, 5 << 8 | reserved) + inner


VXLAN = b"\x08" + bytes(3) + b"\0\0\5\0" + BFD


@pytest.mark.parametrize(
    ("name", "ip"),
    [
        ("in IP in IP", wire.ip(A, B, 4, on_udp(6081, wire.geneve(ARP)))),
        ("in IPv6 in IP", wire.ip(A, B, 41, on_udp(6081, wire.geneve(BFD_6)))),
        ("in GRE", wire.ip(A, B, 47, b"\0\0\x08\0" + on_udp(6081, wire.geneve(BFD)))),
        ("in UDP-Lite", wire.ip(A, B, 136, wire.udp(5, 6081, wire.geneve(BFD)))),
        ("in VXLAN", on_udp(4789, VXLAN[:8] + wire.ethernet(on_udp(6081, wire.geneve(BFD))))),
        ("on IKE's port", on_udp(500, bytes(8) + wire.geneve(BFD))),
        ("on the NAT-T port", on_udp(4500, bytes(4) + wire.geneve(BFD))),
        ("in TCP", wire.ip(A, B, 6, wire.tcp(5, 7471, bytes(18) + wire.geneve(BFD)))),
        (
            "quoted by an ICMP error",
            wire.ip(B, A, 1, wire.icmp(3, on_udp(6081, wire.geneve(BFD))[:100])),
        ),
        ("with a reserved byte", on_udp(7777, geneve_with(0, 1, BFD))),
        ("with reserved flags", on_udp(7777, geneve_with(0x3F, 0, BFD))),
        (
            "with MPLS inside",
            on_udp(7777, geneve_with(0x80, 0, bytes(12) + b"\x88\x47" + bytes(4))),
        ),
        ("with ARP", on_udp(7777, geneve_with(0x40, 0xFF, ARP))),
        (
            "without Ethernet",
            on_udp(7777, geneve_with(0, 0, wire.ip(A, B, 1, wire.icmp(8, b"")), 0x0800)),
        ),
        (
            "without Ethernet, IPv6",
            on_udp(7777, geneve_with(0, 0, wire.ip("fd00::1", "fd00::2", 17, b"12345678"), 0x86DD)),
        ),
        (
            "after the UDP datagram's own end",
            wire.ip(A, B, 17, wire.udp(1, 2, b"") + wire.geneve(BFD)),
        ),
    ],
    ids=name_alone,
)
def test_geneve_in_clear_is_found_whatever_it_is_wrapped_in(name: str, ip: bytes) -> None:
    verdict = judged(lambda lab: lab.extra.append(wire.ethernet(ip)))
    assert ReasonCode.GENEVE_IN_CLEAR in codes(verdict), name
    counts = verdict.phase(Phase.ENABLED).capture.counts
    assert counts.geneve_clear == 1
    assert "frame 3 at 12:00:05" in texts(verdict)


def null_esp(inner: bytes, next_header: int = 17) -> bytes:
    """ESP with the NULL cipher (RFC 2410) and a 12-byte check value, of an SA that nobody lists."""
    padding = -(len(inner) + 2) % 4
    trailer = bytes(range(1, padding + 1)) + bytes((padding, next_header))
    return bytes.fromhex("0badcafe00000001") + inner + trailer + bytes(12)


PLAIN_IP = wire.ip("10.0.0.1", "10.0.0.2", 1, wire.icmp(8, b""))
UNMARKED = {
    "Geneve": wire.udp(5, 6081, wire.geneve(BFD)),
    "Geneve to another port": wire.udp(5, 7777, wire.geneve(BFD)),
    "Geneve with MPLS inside": wire.udp(5, 6081, geneve_with(0x40, 0, b"\0" * 12 + b"\x88\x47??")),
    "Geneve without Ethernet": wire.udp(5, 6081, geneve_with(0, 0, PLAIN_IP, 0x0800)),
}


@pytest.mark.parametrize("datagram", list(UNMARKED.values()), ids=list(UNMARKED))
@pytest.mark.parametrize("around", ["ESP", "ESP in UDP", "ESP in tunnel mode"])
def test_unmarked_geneve_in_esp_that_does_not_encrypt_is_in_clear(
    around: str, datagram: bytes
) -> None:
    esp = null_esp(datagram)
    if around == "ESP in tunnel mode":
        esp = null_esp(wire.ip(A, B, 17, datagram), next_header=4)
    packet = wire.ip(A, B, wire.ESP, esp)
    if around == "ESP in UDP":
        packet = wire.ip(A, B, 17, wire.udp(4500, 4500, esp))
    verdict = judged(lambda lab: lab.extra.append(wire.ethernet(packet)))
    assert ReasonCode.GENEVE_IN_CLEAR in codes(verdict)
    enabled = verdict.phase(Phase.ENABLED)
    assert enabled.clear_geneve_first[0].frame == 3
    assert enabled.clear_geneve_first[0].destination_port in (6081, 7777)
    assert [closed.why for closed in enabled.closed_esp] == ["no key for this SPI"]
    counts = enabled.capture.counts
    in_clear, sealed = counts.geneve_clear, counts.esp + counts.esp_in_udp
    assert (in_clear, sealed) == (1, counts.esp_decrypted)


def test_esp_that_shows_no_geneve_is_closed_and_not_in_clear() -> None:
    closed = wire.ip(A, B, wire.ESP, null_esp(bytes(range(256)) * 4))
    verdict = judged(lambda lab: lab.extra.append(wire.ethernet(closed)))
    assert codes(verdict) == {ReasonCode.OBSERVATION}  # it could hide what stayed on its node
    assert "1 ESP frames with SPI 0badcafe could hide it" in texts(verdict)


MPLS = wire.ethernet(b"\0\0\x11\xff" + wire.ip(A, B, 17, bytes(8)), ethertype=0x8847)


@pytest.mark.parametrize(
    ("named", "frame"),
    [
        ("IP protocol 4 (IPv4 in IP)", wire.ethernet(wire.ip(A, B, 4, wire.ip(A, B, 1, b"")))),
        ("IP protocol 47 (GRE)", wire.ethernet(wire.ip(A, B, 47, bytes(8)))),
        ("IP protocol 51 (AH)", wire.ethernet(wire.ip(A, B, 51, bytes(24)))),
        ("IP protocol 136 (UDP-Lite)", wire.ethernet(wire.ip(A, B, 136, wire.udp(1, 2, b"")))),
        ("IP protocol 253", wire.ethernet(wire.ip(A, B, 253, b"?"))),
        ("IP protocol 2 from", wire.ethernet(wire.ip(A, B, 2, bytes(8)))),
        (
            "IP protocol 47 (GRE) from 2001:db8::1",
            wire.ethernet(wire.ip("2001:db8::1", "2001:db8::2", 47, bytes(8))),
        ),
        ("UDP 4789 (VXLAN)", wire.ethernet(on_udp(4789, VXLAN))),
        ("UDP 4789 (VXLAN)", wire.ethernet(on_udp(4789, b"?"))),
        ("UDP 2152 (GTP-U)", wire.ethernet(on_udp(2152, bytes(20)))),
        ("VXLAN to UDP 7777", wire.ethernet(on_udp(7777, VXLAN))),
        ("UDP 500 that is not IKE", wire.ethernet(on_udp(500, b"." * 40))),
        ("UDP 4500 that is not IKE", wire.ethernet(on_udp(4500, bytes(60)))),
        ("Ethernet type 0x8847", MPLS),
        ("Ethernet type 0x002e", wire.ethernet(b"\xaa\xaa\3" + bytes(40), ethertype=46)),
    ],
    ids=name_alone,
)
def test_what_could_carry_anything_is_a_reason_with_ipsec_on_only(named: str, frame: bytes) -> None:
    verdict = judged(lambda lab: lab.extra.append(frame))
    assert codes(verdict) == {ReasonCode.UNEXPECTED_TRAFFIC}
    assert named in texts(verdict)
    assert judged(spoil_control=lambda lab: lab.extra.append(frame)).passed


def test_a_mark_in_vxlan_is_in_clear_as_well() -> None:
    def spoil(lab: Recording) -> None:
        lab.extra.append(
            wire.ethernet(on_udp(4789, VXLAN[:8] + wire.ethernet(packet(lab.probe()))))
        )

    assert codes(judged(spoil)) == {ReasonCode.UNEXPECTED_TRAFFIC, ReasonCode.OBSERVATION}


IGMP = wire.ip(A, "224.0.0.22", 2, bytes(8))
LINK_LOCAL = "fe80::1"


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("IGMP", wire.ethernet(IGMP)),
        ("router solicitation", wire.ethernet(wire.ip(LINK_LOCAL, "ff02::2", 58, bytes(16)))),
        (
            "DHCP",
            wire.ethernet(wire.ip("192.0.2.98", "255.255.255.255", 17, wire.udp(68, 67, b"?"))),
        ),
        ("mDNS", wire.ethernet(wire.ip(LINK_LOCAL, "ff02::fb", 17, wire.udp(5353, 5353, b"?")))),
        (
            "TCP of a host that is no node",
            wire.ethernet(wire.ip(STRANGER, A, 6, wire.tcp(5, 22, b""))),
        ),
        ("LLDP", bytes.fromhex("0180c200000e020000000001") + b"\x88\xcc" + bytes(46)),
        (
            "an answer from a tunnel's port",
            wire.ethernet(wire.ip(A, B, 17, wire.udp(4789, 40000, b""))),
        ),
    ],
    ids=name_alone,
)
def test_what_guests_and_hosts_send_of_themselves_is_no_reason(name: str, frame: bytes) -> None:
    verdict = judged(lambda lab: lab.extra.append(frame))
    assert verdict.passed, texts(verdict)


def test_geneve_of_a_probe_on_another_port_with_a_reserved_byte() -> None:
    def spoil(lab: Recording) -> None:
        geneve = bytearray(geneve_datagram(lab.probe())[8:])
        geneve[7] = 1
        lab.extra.append(wire.ethernet(on_udp(7777, bytes(geneve))))

    assert codes(judged(spoil)) == {ReasonCode.GENEVE_IN_CLEAR, ReasonCode.OBSERVATION}
