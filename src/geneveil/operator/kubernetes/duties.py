"""Everything that a leader does at one look, in its order. Level-triggered: it compares what is.

Each duty is done with what the cache and the ledger say now, so that a duty that failed, a kill and
a lead that changed are all made good by the next look.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial

from geneveil.kube.csr_wire import SigningRequest, time_text
from geneveil.kube.errors import ApiUnavailableError, ExistsError, MissingError
from geneveil.kube.kinds import CLUSTER_IPSECS
from geneveil.model.errors import ConfigError, GeneveilError, RefusedError
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.keeper import Keeper
from geneveil.operator.kubernetes.answers import AnswerDesk
from geneveil.operator.kubernetes.capacity import choose_named, is_roll_over_due, judge_size
from geneveil.operator.kubernetes.caretaker import Caretaker
from geneveil.operator.kubernetes.census import take_census
from geneveil.operator.kubernetes.cluster_cache import ClusterCache
from geneveil.operator.kubernetes.foundation import Foundation, Means
from geneveil.operator.kubernetes.protection_watch import ProtectionWatch
from geneveil.operator.kubernetes.publisher import Publisher
from geneveil.operator.kubernetes.requested_rotation import find_request
from geneveil.operator.kubernetes.restoration import (
    SECONDS_BETWEEN,
    choose_reissue,
    explain_restoration,
    find_strangers,
)
from geneveil.operator.kubernetes.signer import Waiting
from geneveil.operator.kubernetes.store import KubeStore
from geneveil.operator.kubernetes.switch import Problem, judge_switch, restored_document
from geneveil.operator.kubernetes.waiting import MOST_WAITING, WaitLog, count_earlier
from geneveil.operator.log_lines import log_line
from geneveil.operator.registry import Registry
from geneveil.operator.rotation_request import request_rotation

MOST_AT_ONCE = 64
"""Requests of one transaction: large enough to write side by side, small enough for a kill."""

WHOLE_SECONDS = 1.0
"""Between two looks at everything, where nothing is urgent: such a look costs time with the number
of nodes. If each change brought one, their cost would grow with its square."""

PATIENCE_SECONDS = 20.0
"""So long an answer that was written is not written again, while the watch has not told of it."""

REFUSED_SECONDS = 3 * PATIENCE_SECONDS
"""So long people are told of an answer that was refused; while it is wanted it is tried again."""

KIND_SECONDS = 30.0
"""Between attempts to make objects whose CRD is gone."""

_log = logging.getLogger(__name__)


class Duties:
    """One leader's work; one thread.

    Args:
        seconds: of a clock that nobody moves.
    """

    def __init__(self, means: Means, seconds: Callable[[], float], signer_name: str) -> None:
        self._means, self._seconds = means, seconds
        self._cache: ClusterCache = means.cache
        self._port, self._namespace = means.place.port, means.place.namespace
        self._desk = AnswerDesk(self._port)
        self._caretaker = Caretaker(self._port, self._cache)
        self._publisher = Publisher(self._port, self._namespace)
        self._protection = ProtectionWatch(self._port, self._namespace, signer_name)
        self._answered: dict[str, float] = {}
        self._waits: dict[str, float] = {}
        self._late: set[str] = set()
        self._wait_log = WaitLog()
        self._refused, self._refused_at = "", float("-inf")
        self._earlier: Mapping[str, int] = {}
        self._restored_at = self._no_kind_until = float("-inf")
        self._reissue: tuple[str, ...] = ()
        self._whole_at = float("-inf")
        self._whole_of: Foundation | None = None

    def close(self) -> None:
        """No more work."""
        self._desk.close()
        self._caretaker.close()

    def do(self, base: Foundation) -> bool:
        """One look.

        Returns:
            True if there is more to be done at once.
        Raises:
            GeneveilError: a duty failed; the next look begins from what is.
        """
        failures = [self._keep_objects(base)]
        is_busy = False
        if base.registry is not None and base.keeper is not None:
            self._hear(base.registry, base.store)
            if self._is_whole_due(base):
                failures.append(self._look_at_all(base, base.registry, base.keeper))
            is_busy, unpublished = self._sign(base, base.registry)
            failures.append(unpublished)
        for failure in failures:
            if failure is not None:
                raise failure
        return is_busy

    def _is_whole_due(self, base: Foundation) -> bool:
        is_old = self._seconds() - self._whole_at >= WHOLE_SECONDS
        return is_old or self._cache.is_urgent or base is not self._whole_of

    def _look_at_all(
        self, base: Foundation, registry: Registry, keeper: Keeper
    ) -> GeneveilError | None:
        """Returns: why the trust could not be published; nothing else waits for that."""
        self._whole_of = None  # until it is done
        self.obey(base)
        self._ask_for_roll_over(base, registry)
        now = self._means.clock.now()
        self._caretaker.revoke_the_gone(base.store, now)
        self._caretaker.revoke_the_former(base.store, self._means.confirmations, now)
        self._look_for_restoration(registry)
        strangers = find_strangers(self._cache.said, registry.store.read_serials())
        self._reissue = choose_reissue(strangers)
        keeper.keep(self._seconds())
        failure = self._publish(base, registry)
        if failure is None:
            self._whole_of, self._whole_at = base, self._seconds()
            self._cache.is_urgent = False
        return failure

    def clean(self, base: Foundation) -> None:
        """What is done twice a minute. What is refused is in the way of nothing else.

        Raises:
            GeneveilError: the first that could not be done.
        """
        self._publisher.forget()
        now = self._means.clock.now()
        tasks: list[Callable[[], None]] = [
            partial(self._caretaker.clean_requests, self._means.server_now(now)),
            partial(self._protection.look, self._seconds(), now),
            base.store.write_log,
            partial(self._caretaker.forget_the_gone, base.store),
        ]
        if base.signer is not None:
            tasks.insert(0, base.signer.write_counts)
        failure: GeneveilError | None = None
        for task in tasks:
            try:
                task()
            except ApiUnavailableError:
                raise  # whoever is asked next waits as long for nothing
            except GeneveilError as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def report(self, base: Foundation, failure: GeneveilError | None = None) -> None:
        """Tell people, in the ClusterIPsec's status.

        Args:
            failure: why looks have been failing.
        """
        if self._cache.switch is None:
            return
        now = self._means.clock.now()
        further = (self._judge_answers(), judge_size(self._publisher.told_bytes))
        facts = take_census(
            base.store,
            base.registry,
            self._means,
            self._seconds(),
            (*(one for one in further if one is not None), *self._protection.problems),
        )
        if failure is not None:
            facts = replace(facts, failure=failure.render())
        self._publisher.publish_status(facts, self._cache.switch, now)

    def _judge_answers(self) -> Problem | None:
        """Nodes whose answers are refused have no certificate, though the ledger says one."""
        if self._seconds() - self._refused_at > REFUSED_SECONDS:
            return None
        return Problem(
            "AnswersRefused",
            f"the API server refuses answers to requests for certificates ({self._refused}): those "
            "nodes get none; is the ClusterRole geneveil-operator as this version installs it, and "
            "does no webhook of somebody else refuse them?",
        )

    def report_unusable(self, error: GeneveilError) -> None:
        """Tell people that the state can't be used: an old `nothing is wrong` would be a lie."""
        if self._cache.switch is not None:
            now = self._means.clock.now()
            self._publisher.publish_unusable(error.render(), self._cache.switch, now)

    def _keep_objects(self, base: Foundation) -> GeneveilError | None:
        """Make what is missing; where the CRDs are, for some time there is nothing to try.

        Returns:
            Why it could not be done: certificates, revocations and trust depend on none of it.
        """
        if self._seconds() < self._no_kind_until:
            return None
        try:
            self.keep_switch(base)
            self._caretaker.keep_node_ipsecs()
        except MissingError as error:
            self._no_kind_until = self._seconds() + KIND_SECONDS
            _log.error(log_line("kind-missing", error=error.render()))
        except GeneveilError as error:
            return error
        return None

    def keep_switch(self, base: Foundation) -> None:
        """Make the ClusterIPsec again if somebody deleted it: there is something to report on.

        Raises:
            MissingError: there is no such kind of object any more.
        """
        sealed = base.store.read_seal()
        problem = judge_switch(self._cache.switch, sealed)
        if problem is None or self._cache.switch is not None:
            return
        _log.error(log_line("switch-deleted", message=problem.message))
        document = restored_document(sealed, time_text(self._means.clock.now()))
        try:
            self._cache.switch = self._port.create(CLUSTER_IPSECS, document)
        except ExistsError:
            return
        except MissingError:
            raise  # the CRD itself is gone
        except GeneveilError as error:
            _log.error(log_line("switch-not-restored", error=error.render()))

    def obey(self, base: Foundation) -> None:
        """Do what people wrote into annotations."""
        now = self._means.clock.now()
        ahead = self._means.server_now(now) - now
        self._caretaker.obey_people(base.store, now, ahead)
        registry = base.registry
        if registry is None or self._cache.switch is None:
            return
        wish = find_request(self._cache.switch, base.store.heard_wish)
        if wish is None:
            return
        with base.store.transaction():
            base.store.hear_wish(wish.text)
            try:
                if request_rotation(base.store, wish.wave, now):
                    _log.info(log_line("rollover-requested", wish=wish.text))
            except (ConfigError, RefusedError) as error:
                # whatever a person writes there, nodes are still answered
                _log.error(log_line("wish-refused", wish=wish.text, error=error.render()))

    def _hear(self, registry: Registry, store: KubeStore) -> None:
        now, at_seconds = self._means.clock.now(), self._seconds()
        for name in self._cache.take_reported():
            facts, state = self._cache.claims.find(name), self._cache.said.get(name)
            if facts is None or not facts.chassis or state is None or not state.serial:
                continue
            # whoever claims another node's chassis and serial does not speak for it
            binding = store.find_binding(facts.chassis)
            if binding is None or binding.node != name:
                continue
            record = registry.store.find_certificate(state.serial)
            if record is not None and record.chassis == facts.chassis:
                self._means.confirmations.note(facts.chassis, state, now, at_seconds)

    def _look_for_restoration(self, registry: Registry) -> None:
        at_seconds = self._seconds()
        if at_seconds - self._restored_at < SECONDS_BETWEEN:
            return
        registry.refresh()
        state = registry.state
        numbers = {state.sha256[crl.authority_id]: crl.number for crl in state.crls}
        why = explain_restoration(self._cache.said.items(), state.trust.generation, numbers)
        if why:
            self._begin_epoch(registry, why)
            self._restored_at = at_seconds

    def _begin_epoch(self, registry: Registry, why: str) -> None:
        now = self._means.clock.now()
        with registry.store.transaction():
            registry.tables.begin_epoch()
            registry.store.append_audit(AuditEvent(Event.RESTORED, detail=why), now)
        registry.forget_changes()
        _log.error(log_line("restored", why=why))

    def _ask_for_roll_over(self, base: Foundation, registry: Registry) -> None:
        """Have an authority followed by another when its list has grown long: see `capacity`."""
        registry.refresh()
        trust, now = registry.state.trust, self._means.clock.now()
        revoked, of_one = base.store.count_revoked(registry.state.signing.authority_id)
        is_requested, believed_at = trust.requested_at is not None, base.store.believed_at
        if is_roll_over_due(revoked, of_one, trust.phase, is_requested, believed_at, now):
            request_rotation(base.store, "", now)
            _log.warning(log_line("rollover-requested", revoked=revoked, why="many are revoked"))

    def _publish(self, base: Foundation, registry: Registry) -> GeneveilError | None:
        """Returns: why it could not be done: certificates and revocations go on all the same."""
        state = registry.state
        named = choose_named(state.revoked_chassis, registry.tables.read_nodes)
        try:
            told = replace(state, revoked_chassis=named)
            published = self._publisher.publish_trust(told, registry.expired_chassis, self._reissue)
            if published > state.trust.generation:
                self._begin_epoch(registry, "the published trust is newer than the ledger")
        except GeneveilError as error:
            if base.store.is_stale:
                raise
            return error
        return None

    def _sign(self, base: Foundation, registry: Registry) -> tuple[bool, GeneveilError | None]:
        """Returns: whether more requests wait, and why the trust could not be published."""
        pending = self._pending()
        if base.signer is None or not pending:
            return False, None
        batch = pending[:MOST_AT_ONCE]
        decisions = base.signer.answer(batch, self._earlier)
        at_seconds = self._seconds()
        answers = []
        for decision in decisions:
            if isinstance(decision, Waiting):
                self._put_off(decision, at_seconds)
            else:
                answers.append(decision)
        written = self._desk.write(answers, self._means.clock.now())
        self._answered.update(dict.fromkeys(written.uids, at_seconds))
        if written.refused:
            self._refused, self._refused_at = written.refused, at_seconds
        failure = self._publish(base, registry)  # a readmitted chassis is revoked no more
        if written.error is not None:
            raise written.error
        return len(pending) > len(batch), failure

    def _put_off(self, waiting: Waiting, at_seconds: float) -> None:
        uid, name = waiting.csr.uid, waiting.csr.name
        self._waits[uid] = at_seconds
        self._late.add(uid)
        if self._wait_log.is_worth_telling(uid, waiting.why, at_seconds):
            _log.warning(log_line("request-waits", request=name, why=waiting.why))

    def _pending(self) -> list[SigningRequest]:
        at_seconds = self._seconds()
        for table, seconds in ((self._answered, PATIENCE_SECONDS), (self._waits, 1.0)):
            for uid in [uid for uid, at in table.items() if at_seconds - at > seconds]:
                del table[uid]
        pending = [
            request
            for request in self._cache.unanswered.values()
            if request.uid not in self._answered and request.uid not in self._waits
        ]
        there = {request.uid for request in self._cache.unanswered.values()}
        self._late &= there
        self._wait_log.keep_only(there)
        self._earlier = count_earlier(
            one for one in self._cache.unanswered.values() if one.uid not in self._answered
        )
        # one node's many are not in the way of other nodes' few
        return sorted(pending, key=self._turn)

    def _turn(self, one: SigningRequest) -> tuple[bool, bool, datetime, str]:
        is_one_of_many = self._earlier.get(one.uid, 0) >= MOST_WAITING
        return is_one_of_many, one.uid in self._late, one.created_at, one.name
