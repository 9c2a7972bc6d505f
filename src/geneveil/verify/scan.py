"""Reads each frame of a capture once and notes what it shows. Decides nothing.

Every frame is searched for marks as it is, before anything is parsed: whatever is found there,
anybody on the wire could read, in whatever it was wrapped. Then the frame is told apart; ESP is
decrypted, and what was in it is searched again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from geneveil.model.frames import Frame
from geneveil.verify.carried import (
    explain_opened,
    geneve_inside,
    inner_of_geneve,
    port_before,
    readable_geneve_port,
)
from geneveil.verify.esp import (
    NAT_TRAVERSAL_PORT,
    Closed,
    Opened,
    SaTable,
    Sealed,
    UdpEncapsulated,
    classify_nat_traversal,
)
from geneveil.verify.evidence import SaKey
from geneveil.verify.findings import (
    ClearGeneve,
    ClosedGroup,
    Findings,
    FrameCounts,
    SaUse,
    Sighting,
    Unfinished,
)
from geneveil.verify.flows import Carrier
from geneveil.verify.fragments import Pieces, Reassembler
from geneveil.verify.geneve import find_geneve, looks_like_geneve
from geneveil.verify.inner import Inner, describe_inner
from geneveil.verify.marks import find_marks
from geneveil.verify.packet import (
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    PROTOCOL_ESP,
    PROTOCOL_UDP,
    IpPacket,
    Udp,
    ethernet_payload,
    parse_ip,
    parse_udp,
)
from geneveil.verify.traffic import Tally
from geneveil.verify.unexpected import (
    is_ike,
    unexpected_datagram,
    unexpected_frame,
    unexpected_protocol,
)

IKE_PORT = 500
NON_ESP_MARKER_BYTES = 4
KEPT_OFFENDERS = 20


@dataclass
class _Use:
    sa: SaKey
    frames: int = 0
    geneve_frames: int = 0
    modes: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Seen:
    """A whole IP packet with the frames that brought it (one, or its fragments)."""

    frame: int
    time_ns: int
    frames: int
    packet: IpPacket
    marks: frozenset[bytes]


class WireScan:
    """Takes the frames of one capture, in order.

    Args:
        geneve_ports: UDP destination ports of the overlay.
        sa_keys: SAs with their keys.
        marks: the marks of the phase's probes; other marks are counted as strays.
    """

    def __init__(
        self, geneve_ports: Iterable[int], sa_keys: Iterable[SaKey], marks: Iterable[bytes]
    ) -> None:
        keys = tuple(sa_keys)
        self._geneve_ports = frozenset(geneve_ports)
        self._nat_ports = frozenset(
            (NAT_TRAVERSAL_PORT, *(port for sa in keys for port in sa.encapsulation_ports))
        )
        self._table = SaTable(keys)
        self._marks = frozenset(marks)
        self._fragments = Reassembler()
        self._counts = FrameCounts()
        self._first_time_ns: int | None = None
        self._last_time_ns: int | None = None
        self._sightings: dict[bytes, list[Sighting]] = {}
        self._clear_geneve: list[ClearGeneve] = []
        self._closed: dict[tuple[bytes, bytes, int, Sealed], ClosedGroup] = {}
        self._uses: dict[int, _Use] = {}
        self._tunnels = Tally()
        self._fragmented = Tally()
        self._unexpected = Tally()

    def take(self, frame: Frame) -> None:
        """Note what one frame shows."""
        counts = self._counts
        counts.total += 1
        if self._first_time_ns is None:
            self._first_time_ns = frame.time_ns
        self._last_time_ns = frame.time_ns
        if frame.wire_bytes > len(frame.data):
            counts.cut += 1
        marks = find_marks(frame.data)
        found = ethernet_payload(frame.data)
        if found is None or found[0] not in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
            if found is None:
                counts.malformed += 1
            elif found[0] == ETHERTYPE_ARP:
                counts.arp += 1
            else:
                counts.other += 1
                if what := unexpected_frame(frame.data, found[0]):
                    self._unexpected.add(what, b"", b"", 1, frame.number)
            self._note_unparsed(frame, marks)
            return
        packet = parse_ip(frame.data, found[1])
        if packet is None:
            counts.malformed += 1
            self._note_unparsed(frame, marks)
        elif packet.fragment is None:
            self._take_packet(_Seen(frame.number, frame.time_ns, 1, packet, marks))
        else:
            counts.fragments += 1
            # A mark that a piece cuts and a short frame's padding fills up would be nobody's.
            marks = marks & self._marks | find_marks(packet.payload)
            whole = self._fragments.add(frame.number, frame.time_ns, packet, marks)
            if whole is not None:
                packet, pieces = whole
                marks = find_marks(packet.payload) | pieces.marks
                self._take_packet(
                    _Seen(frame.number, frame.time_ns, len(pieces.frames), packet, marks)
                )

    def findings(self) -> Findings:
        """What all frames showed. Call once, after the last frame."""
        unfinished = self._fragments.incomplete()
        for pieces in unfinished:
            self._take_unfinished(pieces)
        return Findings(
            counts=self._counts,
            first_time_ns=self._first_time_ns,
            last_time_ns=self._last_time_ns,
            sightings={mark: tuple(seen) for mark, seen in self._sightings.items()},
            clear_geneve=tuple(self._clear_geneve),
            closed=tuple(self._closed.values()),
            uses=tuple(
                SaUse(use.sa, use.frames, use.geneve_frames, frozenset(use.modes))
                for use in self._uses.values()
            ),
            unfinished=tuple(
                Unfinished(p.source, p.destination, p.protocol, tuple(p.frames), p.conflicting)
                for p in unfinished
            ),
            tunnels=self._tunnels.groups(),
            fragmented=self._fragmented.groups(),
            unexpected=self._unexpected.groups(),
        )

    def _take_packet(self, seen: _Seen) -> None:
        packet = seen.packet
        if packet.protocol == PROTOCOL_ESP:
            self._tally_overlay("ESP", seen)
            if self._take_esp(seen, packet.payload):
                self._counts.esp += seen.frames
        elif packet.protocol == PROTOCOL_UDP:
            udp = parse_udp(packet.payload)
            if udp is None:
                self._counts.malformed += seen.frames
                self._note_clear(seen, Carrier.OTHER, None)
            else:
                self._take_udp(seen, udp)
        else:
            if what := unexpected_protocol(packet):
                self._tally(self._unexpected, what, seen)
            if not self._take_wrapped_geneve(seen):
                self._counts.other_ip += seen.frames
                self._note_plain(seen)

    def _take_udp(self, seen: _Seen, udp: Udp) -> None:
        ports = (udp.source_port, udp.destination_port)
        if udp.destination_port in self._geneve_ports or looks_like_geneve(udp.payload):
            self._take_clear_geneve(seen, udp.destination_port, udp.payload)
        elif not self._nat_ports.isdisjoint(ports):
            self._take_nat_traversal(seen, udp)
        elif IKE_PORT in ports:
            self._take_ike(seen, udp.payload, IKE_PORT)
        else:
            if what := unexpected_datagram(udp.destination_port, udp.payload):
                self._tally(self._unexpected, what, seen)
            if not self._take_wrapped_geneve(seen):
                self._counts.other_ip += seen.frames
                self._note_plain(seen)

    def _take_nat_traversal(self, seen: _Seen, udp: Udp) -> None:
        kind = classify_nat_traversal(udp.payload)
        if kind is UdpEncapsulated.ESP:
            self._tally_overlay("ESP in UDP", seen)
            if self._take_esp(seen, udp.payload):
                self._counts.esp_in_udp += seen.frames
        elif kind is UdpEncapsulated.KEEPALIVE:
            self._counts.nat_keepalive += seen.frames
            self._tally(self._tunnels, "NAT-T keepalives", seen)
            self._note_plain(seen)
        else:
            self._take_ike(seen, udp.payload[NON_ESP_MARKER_BYTES:], udp.destination_port)

    def _take_ike(self, seen: _Seen, message: bytes, port: int) -> None:
        self._tally(self._tunnels, "IKE", seen)
        if not is_ike(message):
            self._tally(self._unexpected, f"UDP {port} that is not IKE", seen)
        if not self._take_wrapped_geneve(seen):
            self._counts.ike += seen.frames
            self._note_plain(seen)

    def _take_wrapped_geneve(self, seen: _Seen) -> bool:
        """Geneve somewhere in a readable packet, whatever is around it; False if there is none."""
        payload = seen.packet.payload
        start = find_geneve(payload)
        if start is None:
            return False
        self._take_clear_geneve(seen, port_before(payload, start), None)
        return True

    def _tally(self, tally: Tally, what: str, seen: _Seen) -> None:
        packet = seen.packet
        tally.add(what, packet.source, packet.destination, seen.frames, seen.frame)

    def _tally_overlay(self, what: str, seen: _Seen) -> None:
        """What carries pods' packets between nodes: none of it may come in pieces."""
        self._tally(self._tunnels, what, seen)
        if seen.frames > 1:
            self._tally(self._fragmented, what, seen)

    def _take_clear_geneve(self, seen: _Seen, port: int, geneve: bytes | None) -> None:
        """`geneve`: from its header on, or None if it is wrapped in something else."""
        self._count_clear_geneve(seen, port)
        if seen.marks:
            inner = inner_of_geneve(geneve) if geneve is not None else None
            carrier = Carrier.OTHER if inner is None else Carrier.GENEVE
            self._note_clear(seen, carrier, inner)

    def _count_clear_geneve(self, seen: _Seen, port: int) -> None:
        self._counts.geneve_clear += seen.frames
        self._tally_overlay("Geneve", seen)
        if len(self._clear_geneve) < KEPT_OFFENDERS:
            self._clear_geneve.append(
                ClearGeneve(
                    seen.frame,
                    seen.time_ns,
                    seen.packet.source,
                    seen.packet.destination,
                    port,
                    seen.marks & self._marks,
                )
            )

    def _take_esp(self, seen: _Seen, esp: bytes) -> bool:
        """Open it, or keep it as closed; False if it is Geneve that anybody can read, and counted
        as such."""
        if seen.marks & self._marks:  # NULL encryption: readable, whatever it is called
            self._note_clear(seen, Carrier.ESP_READABLE, None)
        packet = seen.packet
        result = self._table.open(packet.destination, esp)
        if isinstance(result, Closed):
            self._take_closed(seen, result)
            port = readable_geneve_port(esp)
            if port is not None:
                self._count_clear_geneve(seen, port)
            return port is None
        self._counts.esp_decrypted += seen.frames
        use = self._uses.setdefault(id(result.sa), _Use(result.sa))
        use.frames += seen.frames
        use.modes.add(result.mode)
        geneve = geneve_inside(result, self._geneve_ports)
        if geneve is not None:
            use.geneve_frames += seen.frames
        marks = find_marks(result.payload)
        if marks - self._marks:
            self._counts.stray_marks += seen.frames
        for mark in marks & self._marks:
            carrier, inner = explain_opened(result, geneve)
            self._note(mark, seen, result, carrier, inner)
        return True

    def _take_closed(self, seen: _Seen, closed: Closed) -> None:
        packet = seen.packet
        key = (packet.source, packet.destination, closed.spi, closed.why)
        group = self._closed.get(key)
        if group is None:
            group = ClosedGroup(*key, closed.sa, 0, seen.frame)
        self._closed[key] = group._replace(frames=group.frames + seen.frames)

    def _take_unfinished(self, pieces: Pieces) -> None:
        """Count what is known of a packet that never became whole; its marks count as readable."""
        heads = pieces.heads()
        parts = [data for _, data in pieces.parts]
        packet = IpPacket(pieces.source, pieces.destination, pieces.protocol, b"", None)
        seen = _Seen(pieces.frames[0], pieces.time_ns, len(pieces.frames), packet, pieces.marks)
        if pieces.protocol == PROTOCOL_ESP:
            self._counts.esp += seen.frames
            self._tally(self._tunnels, "ESP", seen)
            spi = int.from_bytes(heads[0][:4] if heads else b"", "big")
            self._take_closed(seen, Closed(Sealed.MALFORMED, spi, None))
            self._note_clear(seen, Carrier.OTHER, None)
            return
        if what := unexpected_protocol(packet):
            self._tally(self._unexpected, what, seen)
        ports = [int.from_bytes(head[2:4], "big") for head in heads]
        shaped = [p for p, head in zip(ports, heads, strict=True) if looks_like_geneve(head[8:])]
        if pieces.protocol != PROTOCOL_UDP:
            ports, shaped = [], []
        to_geneve = [p for p in ports if p in self._geneve_ports] + shaped
        if to_geneve or any(find_geneve(part) is not None for part in parts):
            self._take_clear_geneve(seen, to_geneve[0] if to_geneve else 0, None)
        else:
            self._counts.other_ip += seen.frames
            self._note_clear(seen, Carrier.OTHER, None)

    def _note_plain(self, seen: _Seen) -> None:
        if seen.marks:
            self._note_clear(seen, Carrier.PLAIN_IP, describe_inner(seen.packet))

    def _note_unparsed(self, frame: Frame, marks: frozenset[bytes]) -> None:
        if marks:
            nothing = IpPacket(b"", b"", 0, b"", None)
            seen = _Seen(frame.number, frame.time_ns, 1, nothing, marks)
            self._note_clear(seen, Carrier.OTHER, None)

    def _note_clear(self, seen: _Seen, carrier: Carrier, inner: Inner | None) -> None:
        known = seen.marks & self._marks
        if seen.marks - known:
            self._counts.stray_marks += seen.frames
        for mark in known:
            self._note(mark, seen, None, carrier, inner)

    def _note(
        self, mark: bytes, seen: _Seen, opened: Opened | None, carrier: Carrier, inner: Inner | None
    ) -> None:
        self._sightings.setdefault(mark, []).append(
            Sighting(
                mark=mark,
                frame=seen.frame,
                time_ns=seen.time_ns,
                source=seen.packet.source,
                destination=seen.packet.destination,
                sa=opened.sa if opened else None,
                mode=opened.mode if opened else "",
                carrier=carrier,
                inner=inner,
            )
        )


def scan_capture(
    frames: Iterable[Frame],
    *,
    geneve_ports: Iterable[int],
    sa_keys: Iterable[SaKey],
    marks: Iterable[bytes],
) -> Findings:
    """Read a capture from its first frame to its last. Raises what reading the frames raises."""
    scan = WireScan(geneve_ports, sa_keys, marks)
    for frame in frames:
        scan.take(frame)
    return scan.findings()
