"""What one reading of a capture found. Values only; `scan` fills them, `judge` weighs them."""

from dataclasses import dataclass
from typing import NamedTuple

from geneveil.verify.esp import Sealed
from geneveil.verify.evidence import SaKey
from geneveil.verify.flows import Carrier
from geneveil.verify.inner import Inner
from geneveil.verify.traffic import Traffic


class Sighting(NamedTuple):
    """One probe's mark, seen once.

    Attributes:
        mark: which.
        frame: number of the frame; of the last piece, if it came in fragments.
        time_ns: when the witness saw it.
        source: packed outer source address; empty if the frame is no IP packet.
        destination: packed outer destination address.
        sa: whose key had to be used to read it; None if anybody on the wire could.
        mode: transport or tunnel, as the decrypted packet says; empty if it was in clear.
        carrier: what it rode in; if it was sealed, what it rode in inside ESP.
        inner: the packet that carries the mark, as its sender made it; None if unintelligible.
    """

    mark: bytes
    frame: int
    time_ns: int
    source: bytes
    destination: bytes
    sa: SaKey | None
    mode: str
    carrier: Carrier
    inner: Inner | None


class ClearGeneve(NamedTuple):
    """A Geneve frame that anybody on the wire could read. The first few are kept."""

    frame: int
    time_ns: int
    source: bytes
    destination: bytes
    destination_port: int
    marks: frozenset[bytes]


class ClosedGroup(NamedTuple):
    """ESP frames of one SPI that could not be decrypted, for one reason.

    Attributes:
        sa: the SA with this SPI, if one is known.
        frames: how many.
        first_frame: number of the first.
    """

    source: bytes
    destination: bytes
    spi: int
    why: Sealed
    sa: SaKey | None
    frames: int
    first_frame: int


class SaUse(NamedTuple):
    """What one SA's key opened.

    Attributes:
        frames: how many ESP packets it opened.
        geneve_frames: how many of them held Geneve to one of the overlay's ports.
        modes: transport, tunnel or dummy, as the packets themselves say.
    """

    sa: SaKey
    frames: int
    geneve_frames: int
    modes: frozenset[str]


class Unfinished(NamedTuple):
    """A fragmented packet of which pieces are missing, or contradict each other."""

    source: bytes
    destination: bytes
    protocol: int
    frames: tuple[int, ...]
    conflicting: bool


@dataclass
class FrameCounts:
    """Frames by what they are. Each frame is in one of the first nine.

    Attributes:
        esp: ESP over IP.
        esp_in_udp: ESP in UDP 4500 (NAT-T).
        ike: IKE on UDP 500 or 4500.
        nat_keepalive: NAT-T keepalives.
        geneve_clear: Geneve that anybody on the wire could read.
        arp: ARP.
        other_ip: other IP packets.
        other: neither IP nor ARP.
        malformed: headers that contradict their bytes.
        total: all of them.
        esp_decrypted: ESP frames, of both kinds, that a node's key opened.
        fragments: frames that were pieces of a packet.
        cut: frames of which the witness kept only a part.
        stray_marks: frames with a mark, readable or decrypted, that is no probe's of this phase.
    """

    esp: int = 0
    esp_in_udp: int = 0
    ike: int = 0
    nat_keepalive: int = 0
    geneve_clear: int = 0
    arp: int = 0
    other_ip: int = 0
    other: int = 0
    malformed: int = 0
    total: int = 0
    esp_decrypted: int = 0
    fragments: int = 0
    cut: int = 0
    stray_marks: int = 0


@dataclass(frozen=True)
class Findings:
    """Everything that a capture shows.

    Attributes:
        counts: frames by kind.
        first_time_ns: time of the first frame; None if there is none.
        last_time_ns: time of the last frame.
        sightings: every sighting of every probe's mark, by mark.
        clear_geneve: the first Geneve frames in clear; `counts.geneve_clear` has the number.
        closed: ESP that stayed closed.
        uses: what each SA's key opened.
        unfinished: packets of which fragments are missing or contradict each other.
        tunnels: ESP, IKE and Geneve in clear, by outer addresses.
        fragmented: ESP and Geneve in clear that came in more than one piece.
        unexpected: what has no place between nodes with IPsec on.
    """

    counts: FrameCounts
    first_time_ns: int | None
    last_time_ns: int | None
    sightings: dict[bytes, tuple[Sighting, ...]]
    clear_geneve: tuple[ClearGeneve, ...]
    closed: tuple[ClosedGroup, ...]
    uses: tuple[SaUse, ...]
    unfinished: tuple[Unfinished, ...]
    tunnels: tuple[Traffic, ...]
    fragmented: tuple[Traffic, ...]
    unexpected: tuple[Traffic, ...]
