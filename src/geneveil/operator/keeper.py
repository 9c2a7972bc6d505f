"""Keeps trust as it should be: CRLs signed, the roll-over brought on.

Level-triggered: it looks at what is, not at what happened, so a kill, a command in another process
and a clock that jumps are all alike.

Each step is one transaction; the key of a new authority is on the disk before it. Decides nothing:
`pki.crl` and `pki.rollover` do.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from geneveil.model.errors import TrustError
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.clock_leap import Pace, first_pace, follow, is_to_be_noted
from geneveil.operator.cluster import authority_certificate
from geneveil.operator.confirmations import Confirmations
from geneveil.operator.log_lines import log_line
from geneveil.operator.records import AuthorityRecord
from geneveil.operator.registry import Registry
from geneveil.operator.rollover_view import gather_rollover, rotation_time
from geneveil.operator.trust_tables import CrlRecord
from geneveil.pki.authority import (
    SERIAL_BYTES,
    encode_certificate,
    make_authority,
    serial_text,
)
from geneveil.pki.crl import (
    CrlState,
    encode_crl,
    explain_new_crl,
    list_entries,
    make_crl,
    read_crl_state,
)
from geneveil.pki.keys import PrivateKey, make_key
from geneveil.pki.rollover import Phase, Verdict, decide_phase

EXPIRED_FOR = timedelta(days=7)
"""A certificate renews half a year before its end and warns a month before. Whoever lets it end has
another week in which what stands goes on; then peers are told to close."""

NAMED_FOR = timedelta(days=366)
"""So long after its last authority left the bundle a chassis that expired is named to the nodes: by
then whoever hears the operator at all has closed. Without an end the list would only grow."""

_EXPIRED_REMEDY = "a new token for each that is to come back: geneveil operator token NODE"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeyFiles:
    """Where authorities' keys are kept.

    Attributes:
        write: puts the key of an authority that no database knows yet, whole and durable.
        remove: removes keys; those that are gone already are no error.
    """

    write: Callable[[int, PrivateKey], None]
    remove: Callable[[Iterable[int]], None]


@dataclass(frozen=True)
class ClockMark:
    """Where the latest moment that was believed is kept from one start to the next.

    Attributes:
        read: None if none was kept, or none that can be read.
        write: keeps another; whether it went well is for the log alone.
    """

    read: Callable[[], datetime | None]
    write: Callable[[datetime], None]


NO_MARK = ClockMark(lambda: None, lambda _at: None)


class Keeper:
    """Runs in the thread that owns the store."""

    def __init__(
        self,
        registry: Registry,
        confirmations: Confirmations,
        key_files: KeyFiles,
        clock_mark: ClockMark = NO_MARK,
    ) -> None:
        self._registry = registry
        self._confirmations = confirmations
        self._key_files = key_files
        self._crl_states: dict[int, tuple[int, CrlState]] = {}  # the newest list's alone
        self._pace: Pace | None = None
        self._clock_mark = clock_mark
        self._noted_at: datetime | None = None

    def keep(self, at_seconds: float) -> int:
        """Look once, do what is to be done, and say which generation it is now.

        Args:
            at_seconds: of the clock that nobody moves.
        Raises:
            GeneveilError: a step failed; it is not half done, and tried again at the next look.
                What does not depend on it was done.
        """
        registry = self._registry
        try:
            with registry.store.transaction():
                registry.refresh()
                self._judge_clock(at_seconds)
                failure = self._sign_lists()
            for _ in Phase:  # at most once round
                with registry.store.transaction():
                    if not self._step(at_seconds):
                        break
                    failure = self._sign_lists() or failure
            self._name_expired()
        except BaseException:
            registry.forget_changes()
            raise
        retired = [record.authority_id for record in registry.state.cluster.retired]
        self._key_files.remove(retired)
        for authority_id in retired:
            registry.forget_key(authority_id)
            self._crl_states.pop(authority_id, None)
        if failure is not None:
            raise failure
        return registry.state.trust.generation

    def write_confirmations(self) -> None:
        """Put what nodes said on the disk, for people and for the next start."""
        confirmations = self._confirmations.take_unwritten()
        if confirmations:
            with self._registry.store.transaction():
                self._registry.tables.put_confirmations(confirmations)

    def _name_expired(self) -> None:
        if self._pace is not None and self._pace.is_suspect:
            return
        registry = self._registry
        now = registry.clock.now()
        expired = registry.tables.read_expired_chassis(now - EXPIRED_FOR, now - NAMED_FOR)
        if expired == registry.expired_chassis:
            return
        with registry.store.transaction():
            registry.tables.bump()
            registry.refresh()
        new = sorted(set(expired) - set(registry.expired_chassis))
        registry.expired_chassis = expired
        if new:
            _log.warning(log_line("expired", chassis=",".join(new), remedy=_EXPIRED_REMEDY))

    def _sign_lists(self) -> TrustError | None:
        """One authority whose key can't be read does not keep the others' lists from being made."""
        registry, now = self._registry, self._registry.clock.now()
        kept_until = registry.believed_now()
        lists = {record.authority_id: record for record in registry.tables.read_crls()}
        is_changed, failure = False, None
        for authority in registry.state.cluster.authorities:
            record = lists.get(authority.authority_id)
            entries = list_entries(registry.tables.read_revoked(authority.authority_id), kept_until)
            begins = authority_certificate(authority).not_valid_before_utc
            reason = explain_new_crl(self._state_of(record), entries, now, begins)
            if not reason:
                continue
            number = record.number + 1 if record else 1
            try:
                crl = make_crl(registry.authority(authority), number, entries, now)
            except TrustError as error:
                failure = failure or error
                continue
            registry.tables.put_crl(CrlRecord(authority.authority_id, number, encode_crl(crl)))
            detail = f"authority {authority.authority_id}, number {number}, {len(entries)} entries"
            registry.store.append_audit(
                AuditEvent(Event.CRL_MADE, detail=f"{detail}: {reason}"), now
            )
            _log.info(log_line("crl-made", number=number, entries=len(entries), reason=reason))
            is_changed = True
        if is_changed:
            registry.tables.bump()
            registry.refresh()
        return failure

    def _state_of(self, record: CrlRecord | None) -> CrlState | None:
        if record is None or not record.crl_pem:
            return None
        known = self._crl_states.get(record.authority_id)
        if known is not None and known[0] == record.number:
            return known[1]
        state = read_crl_state(record.crl_pem)
        self._crl_states[record.authority_id] = record.number, state
        return state

    def _step(self, at_seconds: float) -> bool:
        registry = self._registry
        if self._pace is None or self._pace.is_suspect:
            return False
        now = registry.clock.now()
        view = gather_rollover(
            registry.store,
            registry.state,
            self._confirmations.find,
            lambda chassis: self._confirmations.is_live(chassis, at_seconds),
            now,
        )
        verdict = decide_phase(view)
        if verdict.phase is view.phase:
            return False
        self._enter(verdict, now)
        registry.refresh()
        _log.info(log_line("rollover", phase=verdict.phase.value, reason=verdict.reason))
        return True

    def _judge_clock(self, at_seconds: float) -> None:
        trust, cluster = self._registry.state.trust, self._registry.state.cluster
        now, before = self._registry.clock.now(), self._pace
        if before is None:
            self._noted_at = self._clock_mark.read()
            rotate_at = rotation_time(cluster)
            before = first_pace(trust.phase, rotate_at, now, at_seconds, self._noted_at)
        if trust.requested_at is not None:
            before = Pace(now, at_seconds)
        pace = self._pace = follow(before, now, at_seconds)
        self._registry.believe(pace.at if pace.is_suspect else None)
        if pace.is_suspect and not before.is_suspect:
            _log.error(
                log_line(
                    "clock-leapt",
                    clock=f"{now:%Y-%m-%dT%H:%M:%SZ}",
                    expected=f"{pace.at:%Y-%m-%dT%H:%M:%SZ} or soon after",
                    consequence="no authority is made, changed or dropped and no revocation "
                    "forgotten for a day",
                    remedy="set this machine's clock; if it is right: geneveil operator ca rotate",
                )
            )
        elif before.is_suspect and not pace.is_suspect:
            _log.info(log_line("clock-believed", clock=f"{now:%Y-%m-%dT%H:%M:%SZ}"))
        if is_to_be_noted(pace, self._noted_at):
            self._noted_at = pace.at
            self._clock_mark.write(pace.at)

    def _enter(self, verdict: Verdict, now: datetime) -> None:
        registry = self._registry
        old, new = registry.state.cluster.authorities[0], registry.state.cluster.authorities[-1]
        match verdict.phase:
            case Phase.INTRODUCE:
                self._introduce(now)
            case Phase.SWITCH:
                registry.authority(new)  # one that can't sign is not switched to
                registry.tables.set_signing(new.authority_id)
            case Phase.STEADY:
                registry.tables.retire_authority(old.authority_id, now)
                serial = serial_text(authority_certificate(old).serial_number)
                detail = f"authority {old.authority_id}"
                registry.store.append_audit(
                    AuditEvent(Event.AUTHORITY_RETIRED, serial=serial, detail=detail), now
                )
            case Phase.RETIRE:
                pass  # the phase itself is the step: the wave is over
        registry.tables.set_phase(verdict.phase, now, verdict.reason)
        detail = f"{verdict.phase.value}: {verdict.reason}"
        registry.store.append_audit(AuditEvent(Event.ROLLOVER_PHASE, detail=detail), now)

    def _introduce(self, now: datetime) -> None:
        registry = self._registry
        settings = registry.state.cluster.settings
        policy = settings.certificates
        known = registry.store.read_authorities()
        authority_id = max(record.authority_id for record in known) + 1
        key = make_key(policy.key_type)
        made = make_authority(
            settings.name, key, policy.ca_lifetime, now, registry.draw(SERIAL_BYTES)
        )
        self._key_files.write(authority_id, key)
        pem = encode_certificate(made.certificate)
        record = AuthorityRecord(authority_id, pem, False, now)
        registry.authority(record)  # what was written can be read, or another one is made
        registry.store.add_authority(record)
        event = AuditEvent(
            Event.AUTHORITY_MADE,
            serial=serial_text(made.certificate.serial_number),
            detail=made.certificate.subject.rfc4514_string(),
        )
        registry.store.append_audit(event, now)
