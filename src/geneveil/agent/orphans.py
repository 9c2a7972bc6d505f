"""SAs of ours that charon does not know: what a charon that died left in the kernel. Pure.

They go on carrying, and the peer goes on believing in them. So a charon that is back does not begin
as for a pair that is down: it makes the child that carries this node's own traffic, and the peer,
which sees a newer IKE_SA, makes its own there (`geneveil.mesh.reauthentication` says why each its
own). Only when a direction has been replaced and nothing comes through the orphan any more is it
deleted: exactly that state, by its address, protocol and SPI. What is left of a pair that is
planned no more is deleted when nothing comes through it; of a peer that is closed, at once.

An SA is ours if it has the reqid that we gave to the child, between the pair's addresses.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from geneveil.mesh.reauthentication import missing_children
from geneveil.model.connection import Connection, Direction, IkeSa, sas_by_connection
from geneveil.model.xfrm import XfrmState

QUIET_SECONDS = 10.0
"""An orphan is deleted after it has carried nothing for this long. Packets that are under way need
milliseconds; charon and the kernel are read one after the other, and an SA that is just being made
is no orphan the next time."""

YOUNG_SECONDS = 2.0
"""A younger SA may be one that charon is making: charon is read first."""

ESP = 50
Key = tuple[str, int]
Ends = tuple[str, str]


@dataclass(frozen=True)
class Sighting:
    """An orphan, how much it had carried, and since when it has not carried more."""

    packets: int
    still_since_seconds: float


@dataclass(frozen=True)
class Orphans:
    """What was found.

    Attributes:
        carried: names of connections that charon lacks children of, and whose Geneve orphans carry
            both ways.
        replaced: states that can go.
        sightings: what to remember until the next turn.
    """

    carried: frozenset[str] = frozenset()
    replaced: tuple[XfrmState, ...] = ()
    sightings: Mapping[Key, Sighting] = field(default_factory=dict)


def judge_orphans(
    connections: tuple[Connection, ...],
    sas: tuple[IkeSa, ...] | None,
    states: tuple[XfrmState, ...] | None,
    before: Mapping[Key, Sighting],
    now_seconds: float,
    now: datetime,
    closed: tuple[Connection, ...] = (),
    former: tuple[Connection, ...] = (),
) -> Orphans:
    """Decide what the orphans are and which of them can go.

    Args:
        sas, states: None for what could not be read: then nothing is an orphan and nothing is
            forgotten, and nothing goes but what is closed.
        now: by the clock that the kernel dates its states with. One that was set back makes a pair
            look as if it were not carried: then it is begun as one that is down.
        closed: of peers that are revoked, or expired: their orphans go at once, whatever they
            carry. Nothing will replace them, and the peer still has the keys. While charon does
            not say what it knows, everything of theirs goes: it closes what it still has when it
            is back.
        former: planned no more, for a peer that is not closed.
    """
    if states is None:
        return Orphans(sightings=before)
    between = _states_by_ends(states)
    shut = [state for connection in closed for state in _ours(connection, between)]
    if sas is None:
        return Orphans(replaced=tuple(shut), sightings=before)
    known = {spi for sa in sas for child in sa.children for spi in (child.spi_in, child.spi_out)}
    carried: set[str] = set()
    by_connection = sas_by_connection(sas)
    replaced: list[XfrmState] = []
    sightings: dict[Key, Sighting] = {}
    for connection in connections:
        own = [s for s in _ours(connection, between) if s.spi not in known]
        missing = missing_children(connection, by_connection.get(connection.name, ()))
        latest = now.timestamp() - YOUNG_SECONDS
        older = [state for state in own if state.added_at_seconds <= latest]
        if missing and all(_carries(older, connection, str(child)) for child in missing):
            carried.add(connection.name)
        quiet = _quiet(own, before, sightings, now_seconds)
        replaced += [] if missing else quiet
    for connection in former:
        own = [s for s in _ours(connection, between) if s.spi not in known]
        replaced += _quiet(own, before, sightings, now_seconds)
    replaced += [state for state in shut if state.spi not in known]
    return Orphans(frozenset(carried), tuple(replaced), sightings)


def _quiet(
    own: list[XfrmState],
    before: Mapping[Key, Sighting],
    sightings: dict[Key, Sighting],
    now_seconds: float,
) -> list[XfrmState]:
    """Those that have carried nothing for long enough; adds all of them to the sightings."""
    quiet = []
    for state in own:
        key = (state.destination, state.spi)
        seen = before.get(key)
        if seen is None or seen.packets != state.packets:
            seen = Sighting(state.packets, now_seconds)
        sightings[key] = seen
        if now_seconds - seen.still_since_seconds >= QUIET_SECONDS:
            quiet.append(state)
    return quiet


def _states_by_ends(states: Iterable[XfrmState]) -> Mapping[Ends, list[XfrmState]]:
    """The states from each address to each other."""
    found: dict[Ends, list[XfrmState]] = {}
    for state in states:
        found.setdefault((state.source, state.destination), []).append(state)
    return found


def _ours(connection: Connection, between: Mapping[Ends, list[XfrmState]]) -> list[XfrmState]:
    ends = (connection.local_ip, connection.remote_ip)
    reqids = {connection.reqid(child) for child in connection.children}
    return [
        state
        for way in (ends, ends[::-1])
        for state in between.get(way, ())
        if state.protocol == ESP
        and state.aead is not None  # what only holds a place goes by itself
        and state.reqid in reqids
    ]


def _carries(own: list[XfrmState], connection: Connection, name: str) -> bool:
    child = next(child for child in connection.children if str(child) == name)
    destination = connection.remote_ip
    if child.direction is Direction.IN:
        destination = connection.local_ip
    wanted = (destination, connection.reqid(child))
    return any((state.destination, state.reqid) == wanted for state in own)
