"""Whether ESP gets through to a peer, and what to do when it does not. Pure.

For a cluster with encapsulation Auto. IKE finds a NAT by itself; what it cannot find is somebody on
the way who lets UDP through and drops IP protocol 50. Then the pair is up and nothing arrives.

    plain ─suspicion─> trial ─traffic, no echo─> fallen back ─echo─> returning ──> plain
                         └────────echo, or no traffic──────────────────┘

Suspicion: packets leave through the pair's SAs, none has come in since, and IKE works, with SAs
that are older than that. It needs no help from the peer, and it is complete: where ESP is lost in
one direction, the one who should hear hears nothing; if that one sends, it suspects, and if it does
not, the other gets no answer, and suspects. Where nobody sends, nothing is lost.

Suspicion may be wrong: the other side may have nothing to say. So the trial costs nothing: a new
IKE_SA, in UDP, takes over before the old one is closed. Meanwhile an echo is sent in plain ESP
(`geneveil.especho`). If it comes back, ESP is not what is broken, and the pair returns; a peer that
answers no echoes, as one without geneveil, is believed by its traffic.

Only the node that fell back holds the fallback, and tries to return: one side is enough for
encapsulation, and two would have to agree.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from geneveil.mesh.initiation import is_initiator
from geneveil.model.connection import Connection, IkeSa
from geneveil.model.health import Finding, Severity

SUSPICION_SECONDS = 7.0
"""By then a peer that says nothing has been asked over IKE (DPD_SECONDS after it was last heard): a
dead one is known by a request that has no answer."""

PATIENCE_SECONDS = 4.0
"""How much longer the one of the two waits that does not initiate: two turns, so that it sees what
the other did, and they do not both hold the fallback."""

SUSPICION_PACKETS = 3
RECENT_SECONDS = 4.5
"""A suspicion is about what is being sent now. TCP sends its first packet again after 1, 3, 7 s."""

CONVICTION_SECONDS = 8.0
"""How long an echo may take to clear ESP: the peer's agent has to see the encapsulation first."""

TRIAL_SECONDS = 30.0
RETURN_SECONDS = 60.0

FALSE_ALARM_FIRST_SECONDS = 600.0
HOLD_FIRST_SECONDS = 60.0
LONGEST_SECONDS = 6 * 3600.0
FORGIVEN_SECONDS = 3600.0

ECHO_SECONDS = 10.0
TRIAL_ECHO_SECONDS = 1.0


class EspPhase(Enum):
    """Where a pair stands."""

    PLAIN = "plain"
    TRIAL = "trial"
    FALLEN_BACK = "fallen back"
    RETURNING = "returning"


@dataclass(frozen=True)
class Heard:
    """What the counters of a pair's children tell.

    Attributes:
        counters: a child's unique id to its packets in and out, when last looked at.
        unanswered_since: when the first packet was sent after which nothing came in.
        sent_packets, latest_sent: how many since, and when the latest.
    """

    counters: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    unanswered_since: float | None = None
    sent_packets: int = 0
    latest_sent: float = 0.0


@dataclass(frozen=True)
class EspWatch:
    """One pair. Times are seconds of a clock that only goes forward.

    Attributes:
        since: when the phase began.
        tries: false alarms and fallbacks in a row.
        not_before: for PLAIN the next suspicion, for FALLEN_BACK the next return.
        asked_at: the latest echo that was asked for.
    """

    phase: EspPhase = EspPhase.PLAIN
    since: float = 0.0
    heard: Heard = field(default_factory=Heard)
    tries: int = 0
    not_before: float = 0.0
    asked_at: float = 0.0

    @property
    def is_forced(self) -> bool:
        """Whether new SAs are to be encapsulated because of this."""
        return self.phase in (EspPhase.TRIAL, EspPhase.FALLEN_BACK)


def watch_esp(
    connection: Connection,
    sas: Iterable[IkeSa],
    before: EspWatch | None,
    now_seconds: float,
    *,
    is_echoed: bool,
) -> EspWatch:
    """Decide where a pair stands now.

    Args:
        connection: as the configuration has it; one that is encapsulated by configuration is not
            to be asked about.
        sas: charon's; those of other connections do not count.
        before: where it stood at the last look; None at the first.
        is_echoed: an echo of plain ESP came back from the peer since then.
    """
    established = [sa for sa in sas if sa.connection == connection.name and sa.is_established]
    watch = before or EspWatch(since=now_seconds)
    watch = replace(watch, heard=_listen(watch.heard, established, now_seconds))
    match watch.phase:
        case EspPhase.PLAIN:
            return _while_plain(connection, established, watch, now_seconds)
        case EspPhase.TRIAL:
            return _while_trying(established, watch, now_seconds, is_echoed)
        case EspPhase.FALLEN_BACK:
            if is_echoed and now_seconds >= watch.not_before:
                return _enter(EspPhase.RETURNING, watch, now_seconds)
            return watch
        case EspPhase.RETURNING:
            newest = newest_of(established)
            is_back = newest is None or (not newest.is_nat_faked and bool(newest.children))
            if is_back or now_seconds - watch.since >= RETURN_SECONDS:
                return _enter(EspPhase.PLAIN, watch, now_seconds)
            return watch


def must_ask(watch: EspWatch, now_seconds: float) -> bool:
    """Whether to send an echo now."""
    if watch.phase is EspPhase.TRIAL:
        return now_seconds - watch.asked_at >= TRIAL_ECHO_SECONDS
    if watch.phase is EspPhase.FALLEN_BACK and now_seconds >= watch.not_before:
        return now_seconds - watch.asked_at >= ECHO_SECONDS
    return False


def explain_esp(connection: Connection, watch: EspWatch) -> Finding | None:
    """What a person should know about the pair's encapsulation."""
    subject = f"peer {connection.remote_chassis} at {connection.remote_ip}"
    if watch.phase is EspPhase.TRIAL:
        return Finding(
            "esp-doubted",
            Severity.INFO,
            subject,
            "what is sent in ESP has no answer, and IKE works; trying ESP in UDP 4500",
            "",
        )
    if watch.phase is EspPhase.FALLEN_BACK:
        return Finding(
            "esp-blocked",
            Severity.WARNING,
            subject,
            "ESP does not get through; traffic goes on, encrypted, as ESP in UDP 4500",
            "let IP protocol 50 through between the two nodes; the pair returns by itself",
        )
    return None


def newest_of(established: list[IkeSa]) -> IkeSa | None:
    """The IKE_SA that was made last, if there is one."""
    return min(established, key=lambda sa: (sa.age_seconds, -sa.unique_id), default=None)


def _while_plain(
    connection: Connection, established: list[IkeSa], watch: EspWatch, now_seconds: float
) -> EspWatch:
    newest = newest_of(established)
    if newest is None:
        return replace(watch, heard=Heard())
    if newest.is_nat_faked:
        # An agent that starts anew: of what stands, this node asked for the encapsulation.
        began = now_seconds - newest.age_seconds
        return EspWatch(EspPhase.FALLEN_BACK, began, watch.heard, max(watch.tries, 1))
    is_calm = now_seconds - max(watch.since, watch.not_before) >= FORGIVEN_SECONDS
    watch = replace(watch, tries=0) if watch.tries and is_calm else watch
    if now_seconds >= watch.not_before and _is_suspect(connection, newest, watch, now_seconds):
        return _enter(EspPhase.TRIAL, watch, now_seconds)
    return watch


def _is_suspect(connection: Connection, newest: IkeSa, watch: EspWatch, now_seconds: float) -> bool:
    heard = watch.heard
    if newest.tasks or any(child.encapsulated for child in newest.children):
        return False  # IKE has no answer either, or is at work; or ESP is not what carries
    if heard.unanswered_since is None or heard.sent_packets < SUSPICION_PACKETS:
        return False
    is_first = is_initiator(connection.local_chassis, connection.remote_chassis)
    patience = SUSPICION_SECONDS + (0.0 if is_first else PATIENCE_SECONDS)
    # What was sent into an SA whose other end had lost its power says nothing of the one after it.
    return (
        newest.age_seconds >= patience
        and now_seconds - heard.unanswered_since >= patience
        and now_seconds - heard.latest_sent <= RECENT_SECONDS
    )


def _while_trying(
    established: list[IkeSa], watch: EspWatch, now_seconds: float, is_echoed: bool
) -> EspWatch:
    age = now_seconds - watch.since
    arrived = any(
        child.encapsulated and child.packets_in for sa in established for child in sa.children
    )
    if arrived and not is_echoed and age >= CONVICTION_SECONDS:
        hold = _pause(HOLD_FIRST_SECONDS, watch.tries)
        after = replace(watch, tries=watch.tries + 1, not_before=now_seconds + hold)
        return replace(after, phase=EspPhase.FALLEN_BACK)  # it has been so since the trial began
    if is_echoed or age >= TRIAL_SECONDS:
        pause = _pause(FALSE_ALARM_FIRST_SECONDS, watch.tries)
        after = replace(watch, tries=watch.tries + 1, not_before=now_seconds + pause)
        was_made = any(sa.is_nat_faked for sa in established)
        return _enter(EspPhase.RETURNING if was_made else EspPhase.PLAIN, after, now_seconds)
    return watch


def _enter(phase: EspPhase, watch: EspWatch, now_seconds: float) -> EspWatch:
    not_before = watch.not_before if phase is not EspPhase.TRIAL else 0.0
    heard = Heard(watch.heard.counters)
    return replace(watch, phase=phase, since=now_seconds, not_before=not_before, heard=heard)


def _pause(first_seconds: float, tries: int) -> float:
    return float(min(first_seconds * 2.0 ** min(tries, 16), LONGEST_SECONDS))


def _listen(heard: Heard, established: list[IkeSa], now_seconds: float) -> Heard:
    counters = {
        child.unique_id: (child.packets_in, child.packets_out)
        for sa in established
        for child in sa.children
    }
    pairs = [(heard.counters.get(key, (0, 0)), now) for key, now in counters.items()]
    if any(now[0] > old[0] for old, now in pairs):
        return Heard(counters)
    sent = sum(max(now[1] - old[1], 0) for old, now in pairs)
    if not sent:
        return replace(heard, counters=counters)
    since = now_seconds if heard.unanswered_since is None else heard.unanswered_since
    return Heard(counters, since, heard.sent_packets + sent, now_seconds)
