"""`geneveil operator run`: open what was sealed, serve, keep the server's certificate fresh, stop.

Decides nothing: what a request gets is decided in `decide`, when the certificate is replaced in
`server_identity`.
"""

import asyncio
import logging
import os
import signal
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiohttp import web

from geneveil.model.clock import Clock, SystemClock
from geneveil.model.errors import ConfigError, GeneveilError
from geneveil.operator.audit import AuditEvent, Event
from geneveil.operator.cluster import SealedCluster
from geneveil.operator.enrolment import EnrolmentService, Signer, record_certificate
from geneveil.operator.io import (
    read_authority,
    read_server_file,
    running_lock,
    server_path,
    write_server_file,
)
from geneveil.operator.log_lines import log_line
from geneveil.operator.records import Kind
from geneveil.operator.server import KEEPALIVE_SECONDS, EnrolmentServer, make_tls
from geneveil.operator.server_identity import judge_server_file, make_server_identity
from geneveil.operator.store import Store
from geneveil.pki.authority import SERIAL_BYTES

CHECK_INTERVAL_SECONDS = 30.0
SHUTDOWN_SECONDS = 5.0

_log = logging.getLogger(__name__)


class OperatorProcess:
    """One running operator over an open store, which it uses from one thread only."""

    def __init__(
        self, state_dir: Path, store: Store, cluster: SealedCluster, clock: Clock | None = None
    ) -> None:
        self._state_dir = state_dir
        self._store = store
        self._cluster = cluster
        record = cluster.signing_authority()
        self._signer = Signer(
            cluster=cluster,
            authority=read_authority(state_dir, record),
            authority_id=record.authority_id,
            clock=clock or SystemClock(),
            draw=os.urandom,
        )
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    async def run(self, host: str, port: int) -> signal.Signals:
        """Serve until SIGTERM or Ctrl-C, and say which of them it was.

        Raises:
            ConfigError: the address can't be listened on, or another operator runs on this state.
        """
        loop = asyncio.get_running_loop()
        stop: asyncio.Future[signal.Signals] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _settle, stop, number)
        with running_lock(self._state_dir):
            self.renew_server_file()
            tls = make_tls(server_path(self._state_dir))
            service = EnrolmentService(self._store, self._signer)
            runner = web.AppRunner(
                EnrolmentServer(service, self._executor).make_app(),
                access_log=None,
                keepalive_timeout=KEEPALIVE_SECONDS,
                shutdown_timeout=SHUTDOWN_SECONDS,
            )
            await runner.setup()
            try:
                await self._listen(runner, host, port, tls)
                while not (await asyncio.wait([stop], timeout=CHECK_INTERVAL_SECONDS))[0]:
                    await self._keep_fresh(tls)
            finally:
                await runner.cleanup()
                self._executor.shutdown()
        _log.info(log_line("stopped", signal=stop.result().name))
        return stop.result()

    async def _listen(
        self, runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext
    ) -> None:
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
        except OSError as error:
            raise ConfigError(
                f"can't listen on {host} port {port}", why=error.strerror or str(error)
            ) from None
        for address in runner.addresses:
            _log.info(log_line("listening", address=str(address[0]), port=int(address[1])))

    async def _keep_fresh(self, tls: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        try:
            if await loop.run_in_executor(self._executor, self.renew_server_file):
                tls.load_cert_chain(server_path(self._state_dir))
        except GeneveilError as error:
            _log.error(log_line("server-certificate-failed", error=error.render()))

    def renew_server_file(self) -> bool:
        """Replace the server's certificate if it is time.

        Returns:
            True if it was replaced.
        """
        signer, now = self._signer, self._signer.clock.now()
        names = self._cluster.server_names
        reason = judge_server_file(
            read_server_file(self._state_dir), names, signer.authority.certificate, now
        )
        if not reason:
            return False
        identity = make_server_identity(
            signer.authority, names, self._cluster.settings.name, now, signer.draw(SERIAL_BYTES)
        )
        record = record_certificate(
            identity.certificate, Kind.OPERATOR, names[0], signer.authority_id, now
        )
        with self._store.transaction():
            self._store.add_certificate(record)
            event = AuditEvent(
                Event.OPERATOR_CERTIFICATE, chassis=names[0], serial=record.serial, detail=reason
            )
            self._store.append_audit(event, now)
        write_server_file(self._state_dir, identity.pem)
        _log.info(log_line("server-certificate", reason=reason, serial=record.serial))
        return True


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
