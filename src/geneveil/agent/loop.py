"""Turns the crank: observe, decide, apply, say; and waits. It decides nothing itself.

Signals: SIGTERM and SIGINT end the process at once. Nothing is taken down: SAs, connections, guard
and status stay, and the next start changes nothing about them.
"""

import logging
import os
import signal
import threading
import time
from dataclasses import replace
from types import FrameType
from typing import ClassVar

from geneveil import __version__
from geneveil.agent.alive.io import start_ticks
from geneveil.agent.apply import Outcome, apply_actions, describe
from geneveil.agent.boot_guard import plan_boot_guard
from geneveil.agent.config import AgentConfig
from geneveil.agent.decide import AgentMemory, Decision, decide
from geneveil.agent.exporter.server import MetricsServer
from geneveil.agent.exporter.text import render_metrics
from geneveil.agent.guard_keeper.io import GuardKeeper
from geneveil.agent.io import Enroller, take_lock, write_status
from geneveil.agent.observe import Failures, Observation, Ports, observe
from geneveil.agent.pace import PERIOD_SECONDS, pause_seconds
from geneveil.agent.plane.io import open_plane
from geneveil.agent.ratchet import ModeVerdict, Seal, judge_mode
from geneveil.agent.readings import explain_error
from geneveil.agent.repeated import Repeated
from geneveil.agent.rotation.confirm import confirm
from geneveil.agent.rotation.files import finish_switch, put_away
from geneveil.agent.rotation.io import Renewer, Watcher
from geneveil.agent.seldom import SELDOM_SECONDS, SeldomBolt, SeldomSentinel
from geneveil.agent.status import build_disabled_status, build_status
from geneveil.agent.store import PENDING_CERTIFICATE, SETTINGS, NodeStore
from geneveil.agent.unexpected import (
    FORGET_AFTER,
    failed_health,
    failed_status,
    retry_seconds,
    whereabouts,
)
from geneveil.agent.wire_watch import bolt_unavailable, sentinel_unavailable
from geneveil.especho.io import RawEspEcho
from geneveil.guard.bolt.io import NftBolt
from geneveil.guard.io import NftGuard
from geneveil.guard.port import Guard
from geneveil.guard.sentinel.io import NftSentinel
from geneveil.guard.wire import TABLE
from geneveil.ike.io import ViciCharon, ViciEvents
from geneveil.kernel_events.io import IpsecEvents, TableEvents
from geneveil.mesh.actions import Action, ApplyBolt, ApplyGuard, ApplySentinel, AskEcho
from geneveil.model.clock import Clock, SystemClock
from geneveil.model.cluster import Mode
from geneveil.model.errors import ConfigError, GeneveilError
from geneveil.model.health import Finding, HealthValue, Severity, carry_since
from geneveil.ovs.io import OvsdbWatch
from geneveil.underlay.io import KernelAddresses
from geneveil.xfrm.io import XfrmKernel

SHORTEST_PERIOD_SECONDS = 0.05
"""Events that come in a burst make one turn."""

FIRST_PICTURE_SECONDS = 0.5
"""Open vSwitch's database answers within milliseconds; without this every start would begin with a
complaint that it has not."""

CLOCK_STEP_SECONDS = 10.0
"""More than that between two turns is no drift: somebody set the clock."""

_log = logging.getLogger("geneveil.agent")


class Stopped(BaseException):
    """A signal asked the agent to end.

    `is_asked`: raising it may not be enough. When it interrupts a library that tidies up after
    itself, an error of the tidying takes its place (vici: the end of a streamed request).
    """

    is_asked: ClassVar[bool] = False


def run_agent(config: AgentConfig) -> None:
    """Run until a signal comes; raises ConfigError at once when it cannot start."""
    _catch_signals()
    try:
        store = NodeStore(config.state_dir)
        refuse_if_decommissioned(store)
        verdict = judge_mode(config.mode, store.read_seal())
        wake = threading.Event()
        guard = GuardKeeper(NftGuard(), SystemClock().now, wake.set, SELDOM_SECONDS)
        if verdict.mode is not Mode.DISABLED:
            set_guard(config, store, guard)  # before anything that may fail or wait
        lock = take_lock(config.run_dir)
        _log.info("agent started", extra={"fields": {"version": __version__, "pid": os.getpid()}})
        if verdict.mode is Mode.DISABLED:
            _run_disabled(config)
        Agent(config, store, verdict, guard, wake).run()
        os.close(lock)
    except Stopped:
        _log.info("agent stopped; everything stays in place")


class Agent:
    """One node's agent with its adapters."""

    def __init__(
        self,
        config: AgentConfig,
        store: NodeStore,
        verdict: ModeVerdict,
        guard: GuardKeeper,
        wake: threading.Event,
    ) -> None:
        self._config = config
        self._store = store
        self._clock: Clock = SystemClock()
        self._standing = verdict.findings
        self._must_seal = verdict.must_seal
        self._unsealed: list[Finding] = []
        self._wake = wake
        self._ovs = OvsdbWatch(config.ovsdb, self._wake.set)
        self._events = ViciEvents(config.vici, self._wake.set)
        self._plane = open_plane(config, store, self._clock)
        self._enroller = Enroller(self._plane, store, self._clock, self._wake.set)
        self._watcher = Watcher(self._plane.watcher, store, self._clock, self._wake.set)
        self._renewer = Renewer(self._plane, store, self._clock, self._wake.set)
        self._table_events = TableEvents(TABLE, guard.tend)
        self._ipsec_events = IpsecEvents(self._wake.set)
        self._guard = guard
        self._sentinel = SeldomSentinel(NftSentinel())
        charon, kernel = ViciCharon(config.vici), XfrmKernel()
        self._ports = Ports(
            self._ovs,
            charon,
            guard,
            kernel,
            store,
            self._sentinel,
            KernelAddresses(),
            RawEspEcho(),
            SeldomBolt(NftBolt()),
            lambda: guard.history,
        )
        self._metrics = MetricsServer(*config.metrics) if config.metrics else None
        self._memory = AgentMemory(guard=guard.spec)
        self._stuck: list[Finding] = []
        self._guard_said: ApplyGuard | None = None
        self._guard_lines = Repeated()
        self._is_unproven = False
        self._ahead_seconds = self._clock.now().timestamp() - time.monotonic()
        self._process = (os.getpid(), start_ticks(os.getpid()))
        blank = build_disabled_status(config, self._clock.now(), *self._process)
        self._status = replace(blank, mode=Mode.FULL.value)

    def run(self) -> None:
        """Turn until a signal ends it."""
        self._table_events.start()
        if self._metrics is not None:
            self._metrics.start()
        self._ipsec_events.start()
        self._ovs.start()
        self._events.start()
        self._plane.start()
        self._enroller.start()
        self._watcher.start()
        self._renewer.start()
        self._wait(FIRST_PICTURE_SECONDS)
        failures = 0
        while not Stopped.is_asked:
            try:
                until_next = self._turn()
            except Exception as error:  # a mistake of ours: the next turn may go well
                failures += 1
                self._say_failed(error)
                if failures == FORGET_AFTER:
                    kept = self._memory
                    self._memory = AgentMemory(
                        guard=kept.guard, health=kept.health, record=kept.record
                    )
                time.sleep(retry_seconds(failures))  # whatever wakes us: it would fail again
                continue
            failures = 0
            if not self._wait(until_next) and until_next >= PERIOD_SECONDS:
                self._guard.forget()
                self._sentinel.forget()
        raise Stopped

    def _turn(self) -> float:
        now_seconds = time.monotonic()
        self._notice_clock(now_seconds)
        self._switch()
        failures = Failures(self._renewer.failure, self._watcher.failure)
        seen = observe(
            self._config,
            self._ports,
            self._clock.now(),
            now_seconds,
            self._enroller.failure,
            failures,
        )
        decision = decide(seen, self._memory, (*self._standing, *self._unsealed, *self._stuck))
        has_identity = decision.trust.identity is not None
        self._enroller.update(decision.chassis, has_identity, decision.is_refused)
        self._renewer.update(decision.chassis, decision.must_renew)
        self._watcher.update(confirm(seen, decision))
        self._ports.esp.listen(decision.answered_pairs)
        outcome = apply_actions(decision.actions, self._ports, decision.memory.mesh, now_seconds)
        before = self._memory.health
        # First: what was done must not be done again if what follows fails.
        self._memory = replace(decision.memory, mesh=outcome.memory, health=before)
        self._put_away(decision)
        self._unsealed = self._seal()  # after the guard, never in its way
        self._memory = replace(self._memory, health=self._say(seen, decision, outcome))
        return pause_seconds(decision, outcome, time.monotonic())

    def _notice_clock(self, now_seconds: float) -> None:
        """A clock that was set may make good what was refused: there is nothing to wait for."""
        ahead = self._clock.now().timestamp() - now_seconds
        if abs(ahead - self._ahead_seconds) > CLOCK_STEP_SECONDS:
            self._watcher.retry()
            self._renewer.retry()
        self._ahead_seconds = ahead

    def _switch(self) -> None:
        """Take a new certificate into use, or put the old one away, when it is time."""
        try:
            if self._store.has(PENDING_CERTIFICATE):
                # It has come: a turn that is slow must not let the renewer ask for one more
                # between the switch and the decision that none is wanted any longer.
                self._renewer.update("", False)
            if finish_switch(self._store, is_urgent=self._is_unproven):
                _log.info("a new certificate is in use")
            self._stuck = []
        except GeneveilError as error:
            self._stuck = [explain_error(error, "renewal-stuck", "node certificate")]

    def _put_away(self, decision: Decision) -> None:
        self._is_unproven = decision.trust.identity is None
        if decision.is_retired:
            try:
                put_away(self._store)
                _log.info("the replaced key is destroyed")
            except GeneveilError as error:
                _log.error("the replaced key stays", extra={"fields": {"why": error.render()}})

    def _seal(self) -> list[Finding]:
        """Keep the state directory and the seal; a disk that refuses must not stop the rest."""
        try:
            self._store.prepare()
            if self._must_seal:
                self._store.write_seal()
                self._must_seal = False
            self._store.check_room()
        except GeneveilError as error:
            return [explain_error(error, "state-directory", "state directory")]
        return []

    def _say(
        self, seen: Observation, decision: Decision, outcome: Outcome
    ) -> tuple[HealthValue, ...]:
        for action in outcome.done:
            self._say_done(action)
        failures = [_explain_failed(action, error) for action, error in outcome.failed]
        if self._metrics is not None and self._metrics.failure:
            failures.append(_no_metrics(self._metrics.failure))
        health = carry_since(self._memory.health, [*decision.findings, *failures], seen.now)
        _log_changes(self._memory.health, health)
        self._status = build_status(seen, decision, health, *self._process)
        self._publish()
        return health

    def _say_done(self, action: Action) -> None:
        event, fields = describe(action)
        if isinstance(action, ApplyGuard):
            if action != self._guard_said:  # else somebody fights over it
                self._guard_said, self._guard_lines = action, Repeated()
            times = self._guard_lines.add(time.monotonic())
            if not times:
                return
            fields = {**fields, "times": times} if times > 1 else fields
        level = logging.DEBUG if isinstance(action, AskEcho) else logging.INFO
        _log.log(level, event, extra={"fields": fields})

    def _say_failed(self, error: Exception) -> None:
        now = self._clock.now()
        before = self._memory.health
        health = failed_health(before, error, now)
        self._memory = replace(self._memory, health=health)
        _log_changes(before, health)
        self._status = failed_status(self._status, health, now)
        try:
            self._publish()
        except Exception as another:
            _log.error("no status", extra={"fields": {"why": whereabouts(another)}})

    def _publish(self) -> None:
        self._plane.report(self._status)
        if self._metrics is not None:
            self._metrics.publish(render_metrics(self._status))
        try:
            write_status(self._config.run_dir, self._status)
        except OSError as error:
            _log.error("the status cannot be written", extra={"fields": {"why": str(error)}})

    def _wait(self, seconds: float) -> bool:
        """True if something woke it."""
        if Stopped.is_asked:
            return True  # whoever wanted to wait looks again
        is_woken = self._wake.wait(seconds)
        time.sleep(SHORTEST_PERIOD_SECONDS)
        self._wake.clear()
        return is_woken


def _explain_failed(action: Action, error: GeneveilError) -> Finding:
    match action:
        case ApplySentinel():
            return sentinel_unavailable(error)
        case ApplyBolt():
            return bolt_unavailable(error)
        case _:
            return explain_error(error, "action-failed", describe(action)[0])


def _no_metrics(why: str) -> Finding:
    return Finding(
        "metrics-unavailable",
        Severity.WARNING,
        "metrics",
        f"they cannot be served: {why}",
        "choose another metrics.listen, or end whoever has that port",
    )


def refuse_if_decommissioned(store: NodeStore) -> None:
    """Raise ConfigError on a node that was told to leave the cluster."""
    since = store.decommissioned_since()
    if since:
        raise ConfigError(
            f"this node was decommissioned ({since}); the agent does not start",
            remedy="geneveil node recommission, if it is to come back",
        )


def set_guard(config: AgentConfig, store: NodeStore, guard: Guard) -> None:
    """Set the guard that the files ask for, never less than what stands; a failure is logged, and
    the loop tries again."""
    settings, _unreadable = store.try_read(SETTINGS)
    plan = plan_boot_guard(config, Seal.SEALED, settings, None)
    try:
        if plan.spec is not None and guard.cover(plan.spec)[1]:
            _log.info("guard set at the start")
    except GeneveilError as error:
        _log.error("no guard", extra={"fields": {"why": error.render()}})


def _run_disabled(config: AgentConfig) -> None:
    """Say so, and go on saying so: a service that ends would be restarted."""
    _log.info("mode is Disabled: nothing is encrypted or guarded by this agent")
    clock = SystemClock()
    process = (os.getpid(), start_ticks(os.getpid()))
    while True:
        try:
            write_status(config.run_dir, build_disabled_status(config, clock.now(), *process))
        except OSError as error:
            _log.error("the status cannot be written", extra={"fields": {"why": str(error)}})
        time.sleep(PERIOD_SECONDS)


def _log_changes(before: tuple[HealthValue, ...], after: tuple[HealthValue, ...]) -> None:
    levels = {Severity.ERROR: logging.ERROR, Severity.WARNING: logging.WARNING}
    old = {value.finding.key: value.finding for value in before}
    new = {value.finding.key: value.finding for value in after}
    for key, finding in new.items():
        if key not in old or old[key].what != finding.what:
            fields = {"code": finding.code, "subject": finding.subject, "remedy": finding.remedy}
            level = levels.get(finding.severity, logging.INFO)
            _log.log(level, finding.what, extra={"fields": fields})
    for key, finding in old.items():
        if key not in new:
            fields = {"code": finding.code, "subject": finding.subject}
            _log.info("over: %s", finding.what, extra={"fields": fields})


def _catch_signals() -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        Stopped.is_asked = True
        raise Stopped

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
