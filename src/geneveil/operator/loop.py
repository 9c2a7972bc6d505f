"""`geneveil operator run`: open what was sealed, serve, keep trust and certificate fresh, stop.

Decides nothing: what a request gets is decided in `decide` and `decide_renewal`, what is to be
done about trust in `keeper`, when the server's certificate is replaced in `server_identity`.

A change by another process (`operator revoke` on the same machine) is noticed by reading the
generation in the database every `LOOK_SECONDS`: one row, some tens of microseconds. A socket
between the two could be missing or stale, and would have to be guarded; the database can't lie,
and is looked at anyway. The clock is looked at every second, so that years that pass at once (a
machine that slept, a clock that was set) are noticed within a second of real time.
"""

import asyncio
import logging
import os
import signal
import ssl
from asyncio import sslproto
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from geneveil.model.clock import Clock, SystemClock
from geneveil.model.errors import ConfigError, GeneveilError
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.clock_mark.io import open_clock_mark
from geneveil.operator.cluster import authority_certificate
from geneveil.operator.confirmations import AWAY_AFTER_SECONDS, Confirmations, LiveTerms
from geneveil.operator.enrolment import EnrolmentService
from geneveil.operator.failure_lines import FailureLines
from geneveil.operator.io import (
    KeyLock,
    place_server_file,
    read_authority,
    read_server_file,
    remove_authority_keys,
    running_lock,
    server_path,
    stage_server_file,
    write_authority_key,
)
from geneveil.operator.issuing import Desk, record_certificate
from geneveil.operator.keeper import Keeper, KeyFiles
from geneveil.operator.listener.loop import listening
from geneveil.operator.log_lines import log_line
from geneveil.operator.member import MemberService
from geneveil.operator.queue.loop import BatchQueue
from geneveil.operator.records import Kind
from geneveil.operator.registry import Registry
from geneveil.operator.run_note.io import write_run_note
from geneveil.operator.server import OperatorServer, load_server_file, make_tls
from geneveil.operator.server_identity import (
    judge_server_file,
    make_server_identity,
    plan_serving,
)
from geneveil.operator.store import Store
from geneveil.operator.watch.server import WatchBoard, WatchHandler
from geneveil.pki.authority import SERIAL_BYTES

LOOK_SECONDS = 0.25
KEEP_SECONDS = 1.0
TLS_BUFFER_BYTES = 32 * 1024
"""A connection's read buffer; asyncio's own figure is 256 KiB, for each of thousands of watches."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunTerms:
    """How an operator is run.

    Attributes:
        passphrase: of authorities' keys; None if they are not locked. `repr` does not show it.
        away_after_seconds: from when on a node that is not heard counts as away.
    """

    passphrase: bytes | None = None
    away_after_seconds: float = AWAY_AFTER_SECONDS

    def __repr__(self) -> str:
        return f"RunTerms(away_after_seconds={self.away_after_seconds})"


@dataclass(frozen=True)
class _Kept:
    """What nodes are to be told of, and what of all that was to be done failed."""

    generation: int
    failure: GeneveilError | None


class OperatorProcess:
    """One running operator over an open store, which it uses from one thread only."""

    def __init__(
        self,
        state_dir: Path,
        store: Store,
        clock: Clock | None = None,
        terms: RunTerms | None = None,
    ) -> None:
        terms = terms or RunTerms()
        self._state_dir = state_dir
        self._store = store
        self._terms = terms
        read_key = partial(read_authority, state_dir, passphrase=terms.passphrase)
        self._registry = Registry(store, read_key, clock or SystemClock(), os.urandom)
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._trusted: set[int] = set()
        self._is_tls_old = False
        self._write_counts: Callable[[], None] = lambda: None
        self._keeping, self._looking = FailureLines(), FailureLines()

    async def run(self, host: str, port: int) -> signal.Signals:
        """Serve until SIGTERM or Ctrl-C, and say which of them it was.

        Raises:
            ConfigError: the address can't be listened on, or another operator runs on this state.
        """
        loop = asyncio.get_running_loop()
        stop: asyncio.Future[signal.Signals] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _settle, stop, number)
        sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
        with running_lock(self._state_dir):
            await self.serve(stop, host, port)
        _log.info(log_line("stopped", signal=stop.result().name))
        return stop.result()

    async def serve(self, stop: "asyncio.Future[signal.Signals]", host: str, port: int) -> None:
        """Serve until told to stop. What can't be kept as it should be keeps nobody from being
        answered; only an operator that can't sign, or has nothing to show in TLS, does not begin.
        """
        loop, registry = asyncio.get_running_loop(), self._registry
        registry.authority(registry.state.signing)
        confirmations = Confirmations(
            registry.tables.read_confirmations(), loop.time(), self._terms.away_after_seconds
        )
        away_after = self._terms.away_after_seconds
        run_note = LiveTerms(away_after, registry.clock.now())
        write_run_note(server_path(self._state_dir).parent, run_note)
        keeper = self._make_keeper(confirmations)
        kept = self._keep(keeper, loop.time())
        if kept.failure is not None:
            if read_server_file(self._state_dir) is None:
                raise kept.failure
            _say_failure("keeping-failed", self._keeping, kept.failure, loop.time())
        tls = make_tls(server_path(self._state_dir), self._newly_trusted())
        self._is_tls_old = False
        board = WatchBoard(kept.generation)
        queue = BatchQueue(self._store, self._executor)
        desk = Desk(registry)
        self._write_counts = desk.write_counts
        members = MemberService(desk, confirmations)
        watches = WatchHandler(members, confirmations, queue, board)
        server = OperatorServer(EnrolmentService(desk), members, queue, watches)
        async with listening(server.make_app(), (host, port), tls, board.release):
            while not stop.done():
                await self._look(stop, keeper, queue, board, tls)
        keeper.write_confirmations()
        desk.write_counts(is_end=True)
        self._executor.shutdown()

    def _make_keeper(self, confirmations: Confirmations) -> Keeper:
        secret = self._terms.passphrase
        lock = KeyLock(secret, os.urandom) if secret else None
        key_files = KeyFiles(
            write=partial(write_authority_key, self._state_dir, lock=lock),
            remove=partial(remove_authority_keys, self._state_dir),
        )
        mark = open_clock_mark(server_path(self._state_dir).parent)
        return Keeper(self._registry, confirmations, key_files, mark)

    async def _look(
        self,
        stop: "asyncio.Future[signal.Signals]",
        keeper: Keeper,
        queue: BatchQueue,
        board: WatchBoard,
        tls: ssl.SSLContext,
    ) -> None:
        """Keep everything as it should be, then wait for a second, a change or the end.

        What could not be kept stays behind what the database says: there, only what changes after
        the failure is a change.
        """
        loop = asyncio.get_running_loop()
        known: int | None = None
        try:
            kept = await queue.alone(partial(self._keep, keeper, loop.time()))
            if trusted := self._newly_trusted():
                tls.load_verify_locations(cadata=trusted.decode("ascii"))
            try:
                self._show_server_file(tls)
            finally:
                board.announce(kept.generation)
            await queue.alone(keeper.write_confirmations)
            await queue.alone(self._write_counts)
            if kept.failure is not None:
                raise kept.failure
            known = board.generation
            if self._keeping.succeeded():
                _log.info(log_line("keeping-again"))
        except GeneveilError as error:
            _say_failure("keeping-failed", self._keeping, error, loop.time())
        until = loop.time() + KEEP_SECONDS
        while loop.time() < until:
            if (await asyncio.wait([stop], timeout=LOOK_SECONDS))[0]:
                return
            try:
                generation = await queue.alone(self._registry.tables.read_generation)
                self._looking.succeeded()
                known = generation if known is None else known
                if generation != known:
                    return
            except GeneveilError as error:
                _say_failure("looking-failed", self._looking, error, loop.time())

    def _keep(self, keeper: Keeper, at_seconds: float) -> _Kept:
        """Both in one go, and before anybody is told: a node that hears that an authority was
        dropped comes back with the new bundle at once, and must meet a certificate of it.

        If one of them fails nodes are told all the same what there is: a revocation needs neither.
        """
        failure = None
        for work in (partial(keeper.keep, at_seconds), self.renew_server_file):
            try:
                work()
            except GeneveilError as error:
                failure = failure or error
        return _Kept(self._registry.state.trust.generation, failure)

    def _show_server_file(self, tls: ssl.SSLContext) -> None:
        if self._is_tls_old:
            load_server_file(tls, server_path(self._state_dir))
            self._is_tls_old = False

    def _newly_trusted(self) -> bytes:
        """Authorities that TLS does not know yet; retired ones too, see `clients`."""
        cluster = self._registry.state.cluster
        records = [
            record
            for record in (*cluster.retired, *cluster.authorities)
            if record.authority_id not in self._trusted
        ]
        self._trusted.update(record.authority_id for record in records)
        return b"".join(record.certificate_pem for record in records)

    def renew_server_file(self) -> bool:
        """Replace the server's certificate if it is time.

        Returns:
            True if it was replaced.
        """
        registry, now = self._registry, self._registry.clock.now()
        cluster, believed_now = registry.state.cluster, registry.believed_now()
        serving, names = cluster.serving_authority(believed_now), cluster.server_names
        certificate = authority_certificate(serving)
        period = plan_serving(certificate, believed_now, now)
        reason = judge_server_file(read_server_file(self._state_dir), names, certificate, period)
        if not reason:
            return False
        identity = make_server_identity(
            registry.authority(serving),
            names,
            cluster.settings.name,
            period,
            registry.draw(SERIAL_BYTES),
        )
        record = record_certificate(
            identity.certificate, Kind.OPERATOR, names[0], serving.authority_id, now
        )
        stage_server_file(self._state_dir, identity.pem)
        with self._store.transaction():
            self._store.add_certificate(record)
            event = AuditEvent(
                Event.OPERATOR_CERTIFICATE, chassis=names[0], serial=record.serial, detail=reason
            )
            self._store.append_audit(event, now)
        place_server_file(self._state_dir)
        self._is_tls_old = True
        _log.info(log_line("server-certificate", reason=reason, serial=record.serial))
        return True


def _say_failure(event: str, lines: FailureLines, error: GeneveilError, now_seconds: float) -> None:
    text = error.render()
    if times := lines.failed(text, now_seconds):
        _log.error(log_line(event, error=text, times=times))


def _settle(stop: "asyncio.Future[signal.Signals]", number: signal.Signals) -> None:
    if not stop.done():
        stop.set_result(number)


def parse_listen(text: str) -> tuple[str, int]:
    """Split `0.0.0.0:9443` or `[::]:9443`; port 0 takes a free one.

    Raises:
        ConfigError: it is neither.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{text!r} is no address and port", remedy="write 0.0.0.0:9443")
    return host.strip("[]"), int(port)
