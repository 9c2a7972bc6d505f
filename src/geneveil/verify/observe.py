"""Asks of one probe what became of it.

The questions, in order; the first that has an answer decides:
    readable and sealed both?   clear and encrypted
    readable?                   clear
    sealed?                     tunnel mode, wrong cipher, or encrypted
    not delivered?              not delivered
    hidden in closed ESP?       wrong cipher (if its SA is known) or not decrypted
    on one node?                stayed on the node
    else                        unseen

A probe passes only if that is what the rule calls for and nothing else is wrong with it: it must
have arrived, at its own destination and nowhere else, in the right carrier, between the right
addresses; and one of full size must have been seen in full size. Doubt never passes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from geneveil.verify.esp import cipher_name, is_required_cipher
from geneveil.verify.evidence import PhaseEvidence, Probe
from geneveil.verify.findings import ClosedGroup, Findings, Sighting
from geneveil.verify.flows import CARRIERS, Carrier, Fate, FlowKind, Phase, Size, expected_fate
from geneveil.verify.packet import address_text, pack_address
from geneveil.verify.verdict import Observation, Observed


@dataclass(frozen=True)
class Places:
    """Which underlay addresses belong to which node, packed."""

    by_node: Mapping[str, frozenset[bytes]]

    @classmethod
    def of(cls, phase: PhaseEvidence) -> "Places":
        return cls(
            {
                node.name: frozenset(pack_address(a) for a in node.underlay_addresses)
                for node in phase.nodes
            }
        )

    @property
    def known(self) -> frozenset[bytes]:
        return frozenset().union(*self.by_node.values())


def observe_probes(phase: PhaseEvidence, findings: Findings) -> tuple[Observation, ...]:
    """One observation for each probe, in their order. The control is not asked about here."""
    places = Places.of(phase)
    owners: dict[bytes, list[Probe]] = {}
    for probe in phase.probes:
        owners.setdefault(probe.mark, []).append(probe)
    return tuple(
        observe_probe(
            probe,
            phase.phase,
            _own_sightings(
                probe, findings.sightings.get(probe.mark, ()), len(owners[probe.mark]) > 1
            ),
            findings.closed,
            places,
            full_bytes(probe, phase),
        )
        for probe in phase.probes
    )


def full_bytes(probe: Probe, phase: PhaseEvidence) -> int:
    """How long a packet of full size is: the MTU of where it is sent from, or is on its way to."""
    is_host = probe.kind is FlowKind.HOST_TO_HOST
    return phase.underlay_mtu_bytes if is_host else phase.pod_mtu_bytes


def _own_sightings(
    probe: Probe, sightings: Iterable[Sighting], shared: bool
) -> tuple[Sighting, ...]:
    """A shared mark's sightings belong to request or reply; one that can't be told, to both."""
    if not shared:
        return tuple(sightings)
    return tuple(s for s in sightings if _may_be(probe, s))


def _may_be(probe: Probe, sighting: Sighting) -> bool:
    inner = sighting.inner
    if inner is None:
        return True
    if inner.echo is not None:
        return inner.echo is probe.direction
    source, destination = (
        pack_address(probe.source.address),
        pack_address(probe.destination.address),
    )
    if (inner.source, inner.destination) == (destination, source):
        return source == destination
    return True


def observe_probe(
    probe: Probe,
    phase: Phase,
    sightings: Sequence[Sighting],
    closed: Iterable[ClosedGroup],
    places: Places,
    full_bytes: int,
) -> Observation:
    """Decide what became of one probe.

    Args:
        sightings: those of this probe alone.
        closed: all ESP of the capture that stayed closed.
        full_bytes: how long a packet of full size is.
    """
    expected = expected_fate(probe.kind, phase)
    readable = [s for s in sightings if s.sa is None]
    sealed = [s for s in sightings if s.sa is not None]
    hiding = () if sightings else tuple(g for g in closed if _may_hide(g, probe, places))
    observed = _observed(probe, readable, sealed, hiding)
    longest = _longest(probe, sightings, places)
    problems = _problems(probe, expected, observed, readable, sealed, hiding, places)
    if probe.size is Size.FULL and longest is not None and longest < full_bytes:
        problems += (f"no packet of full size was seen: {longest} bytes, not {full_bytes}",)
    ciphers = {cipher_name(s.sa) for s in sealed if s.sa is not None}
    if observed is Observed.WRONG_CIPHER and not sealed:
        ciphers = {cipher_name(g.sa) for g in hiding if g.sa is not None}
    return Observation(
        probe=probe.id,
        protocol=probe.protocol,
        size=probe.size,
        direction=probe.direction,
        source=f"{probe.source.name} ({probe.source.address})",
        destination=f"{probe.destination.name} ({probe.destination.address})",
        expected=expected,
        observed=observed,
        passed=observed is Observed.of(expected) and not problems,
        problems=problems,
        frames_clear=len({s.frame for s in readable}),
        frames_esp=len({s.frame for s in sealed}),
        spis=tuple(sorted({f"{s.sa.spi:08x}" for s in sealed if s.sa is not None})),
        decrypted=bool(sealed),
        cipher=", ".join(sorted(ciphers)) or None,
        mode=", ".join(sorted({s.mode for s in sealed})) or None,
        first_frame=min((s.frame for s in sightings), default=None),
        packet_bytes=longest,
    )


def _observed(
    probe: Probe,
    readable: Sequence[Sighting],
    sealed: Sequence[Sighting],
    hiding: Sequence[ClosedGroup],
) -> Observed:
    if readable:
        return Observed.CLEAR_AND_ENCRYPTED if sealed else Observed.CLEAR
    if sealed:
        if any(s.mode != "transport" or s.sa is None or s.sa.mode != "transport" for s in sealed):
            return Observed.TUNNEL_MODE
        if not all(s.sa is not None and is_required_cipher(s.sa) for s in sealed):
            return Observed.WRONG_CIPHER
        return Observed.ENCRYPTED
    if not probe.delivered:
        return Observed.NOT_DELIVERED
    same_node = CARRIERS[probe.kind] is Carrier.NONE
    if hiding:
        named = any(g.sa is not None and not is_required_cipher(g.sa) for g in hiding)
        return Observed.WRONG_CIPHER if named and not same_node else Observed.NOT_DECRYPTED
    return Observed.STAYED if same_node else Observed.UNSEEN


def _may_hide(group: ClosedGroup, probe: Probe, places: Places) -> bool:
    """Closed ESP between the probe's nodes, or between addresses that nobody owns up to."""
    if group.source not in places.known or group.destination not in places.known:
        return True
    sender = places.by_node[probe.source.node]
    receiver = places.by_node[probe.destination.node]
    if probe.source.node == probe.destination.node:
        return group.source in sender or group.destination in sender
    return group.source in sender and group.destination in receiver


def _problems(
    probe: Probe,
    expected: Fate,
    observed: Observed,
    readable: Sequence[Sighting],
    sealed: Sequence[Sighting],
    hiding: Sequence[ClosedGroup],
    places: Places,
) -> tuple[str, ...]:
    found = []
    if not probe.delivered and observed is not Observed.NOT_DELIVERED:
        found.append("the receiving end did not get it")
    if probe.received_elsewhere:
        found.append(f"it arrived at {', '.join(probe.received_elsewhere)}")
    if expected is Fate.CLEAR and observed is Observed.CLEAR:
        found += _clear_problems(probe, readable, places)
    if expected is Fate.ENCRYPTED:
        found += _sealed_problems(probe, sealed, places)
    if any(s.carrier is Carrier.ESP_READABLE for s in readable):
        found.append("its mark can be read inside ESP: the ESP does not encrypt")
    for group in hiding if observed is Observed.NOT_DECRYPTED else ():
        found.append(
            f"{group.frames} ESP frames with SPI {group.spi:08x} could hide it: {group.why.value}"
        )
    return tuple(dict.fromkeys(found))


def _clear_problems(probe: Probe, readable: Sequence[Sighting], places: Places) -> list[str]:
    """At least one sighting must be the probe itself, where it belongs."""
    carrier = CARRIERS[probe.kind]
    right_carrier = [s for s in readable if s.carrier is carrier]
    if not right_carrier:
        seen = ", ".join(sorted({s.carrier.value for s in readable}))
        return [f"seen in {seen}, not in {carrier.value}"]
    if not any(_is_itself(probe, s, places) for s in right_carrier):
        return [_other_addresses(right_carrier[0])]
    return []


def _sealed_problems(probe: Probe, sealed: Sequence[Sighting], places: Places) -> list[str]:
    """Every sealed sighting must be the probe itself, in Geneve, between its own nodes."""
    found = []
    sender = places.by_node[probe.source.node]
    receiver = places.by_node[probe.destination.node]
    for sighting in sealed:
        if sighting.inner is not None and sighting.inner.quoted:
            continue  # an ICMP error about it, sealed as well
        if sighting.carrier is not Carrier.GENEVE:
            found.append("found in ESP, but not in Geneve inside it")
        elif not _is_itself(probe, sighting, places):
            found.append(_other_addresses(sighting))
        if sighting.source not in sender or sighting.destination not in receiver:
            found.append(
                f"found in ESP from {address_text(sighting.source)} to "
                f"{address_text(sighting.destination)}, which are not its nodes"
            )
    if sealed and all(s.inner is not None and s.inner.quoted for s in sealed):
        found.append("only an ICMP error about it was found")
    return found


def _is_itself(probe: Probe, sighting: Sighting, places: Places) -> bool:
    """The marked packet has the probe's protocol, direction and addresses.

    In plain IP a pod's address may have been replaced by its node's (masquerading); in Geneve the
    addresses must be the probe's own.
    """
    inner = sighting.inner
    if inner is None or inner.quoted or inner.protocol is not probe.protocol:
        return False
    if inner.echo is not None and inner.echo is not probe.direction:
        return False
    sources = {pack_address(probe.source.address)}
    destinations = {pack_address(probe.destination.address)}
    if sighting.carrier is Carrier.PLAIN_IP:
        sources |= places.by_node[probe.source.node]
        destinations |= places.by_node[probe.destination.node]
    return inner.source in sources and inner.destination in destinations


def _longest(probe: Probe, sightings: Sequence[Sighting], places: Places) -> int | None:
    lengths = (
        s.inner.packet_bytes
        for s in sightings
        if s.inner is not None and _is_itself(probe, s, places)
    )
    return max(lengths, default=None)


def _other_addresses(sighting: Sighting) -> str:
    inner = sighting.inner
    if inner is None:
        return f"frame {sighting.frame} has its mark, but can't be understood"
    kind = "an ICMP error about it" if inner.quoted else "a packet"
    return (
        f"frame {sighting.frame} has its mark in {kind} from {address_text(inner.source)} to "
        f"{address_text(inner.destination)}, which is not the probe"
    )
