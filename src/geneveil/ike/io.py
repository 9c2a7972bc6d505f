"""The two VICI sessions: one for commands, one for events.

The client library cannot tell an event from an answer while a plain request is under way, so
events have a socket of their own, read by a thread that does nothing but call back.
Every command has a time limit, and a session that failed in any way is thrown away: half an
answer is never taken for one.
"""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import vici
from vici.exception import CommandException, DeserializationException, SessionException

from geneveil.ike import wire
from geneveil.model.connection import ChildName, Connection, Identity, ObservedIke
from geneveil.model.errors import DaemonError, SilentDaemonError

COMMAND_TIMEOUT_SECONDS = 2.0
"""charon answers from memory, in milliseconds; when it is stopped or stuck the agent goes on."""

RECONNECT_SECONDS = 0.05
"""How often the event thread looks for a charon that is away: it costs a look at a path."""

EVENTS = ("ike-updown", "child-updown", "ike-rekey", "child-rekey")

_log = logging.getLogger("geneveil.ike")


def socket_path(uri: str) -> str:
    """The path in a `unix://` URI."""
    return uri.removeprefix("unix://")


class ViciCharon:
    """Commands to the charon behind one socket. Not for use by two threads at once."""

    def __init__(self, uri: str) -> None:
        self._path = socket_path(uri)
        self._session: vici.Session | None = None
        self._socket: socket.socket | None = None
        self._instance = 0

    def read(self) -> ObservedIke:
        """Everything that charon has; DaemonError rather than a part of it."""
        version = wire.parse_version(self._request("version"))
        connections = [wire.parse_connection(e) for e in self._stream("list-conns", "list-conn")]
        sas = [wire.parse_ike_sa(e) for e in self._stream("list-sas", "list-sa")]
        certificates = [wire.parse_certificate(e) for e in self._stream("list-certs", "list-cert")]
        return ObservedIke(
            version=version,
            instance=self._instance,
            connections=tuple(sorted(connections, key=lambda c: c.name)),
            sas=tuple(sorted(sas, key=lambda sa: (sa.connection, sa.unique_id))),
            key_ids=wire.parse_key_ids(self._request("get-keys")),
            certificates=frozenset(certificates),
            shared_ids=wire.parse_key_ids(self._request("get-shared")),
        )

    def load_identity(self, identity: Identity) -> str:
        """Trust bundle, certificate, key: in this order; returns the key's id."""
        for authority in identity.trust_bundle_der:
            self._request("load-cert", {"type": "X509", "flag": "CA", "data": authority})
        own = {"type": "X509", "flag": "NONE", "data": identity.certificate_der}
        self._request("load-cert", own)
        answer = self._request("load-key", {"type": "any", "data": identity.key_der})
        return bytes(answer.get("id", b"")).decode()

    def load_crl(self, crl_der: bytes) -> None:
        """Add a CRL; charon keeps the newest of each issuer."""
        self._request("load-cert", {"type": "X509_CRL", "data": crl_der})

    def unload_key(self, key_id: str) -> None:
        """Forget a private key; one that is not there is no error."""
        try:
            self._request("unload-key", {"id": key_id})
        except DaemonError as error:
            if "not found" not in error.why:
                raise

    def clear_credentials(self) -> None:
        """Forget every certificate, CRL, key and shared secret, whoever loaded it; SAs and
        connections stay as they are."""
        self._request("clear-creds")

    def load_connection(self, connection: Connection, identity: Identity, salt: int = 0) -> None:
        """Add or replace one connection."""
        self._request("load-conn", wire.encode_connection(connection, identity, salt))

    def unload_connection(self, name: str) -> None:
        """Forget a connection; charon's complaint that it is not there is no error."""
        try:
            self._request("unload-conn", {"name": name})
        except DaemonError as error:
            if "not found" not in error.why:
                raise

    def terminate(self, ike_unique_id: int, at_once: bool = False) -> None:
        """Close one IKE_SA; one that ended by itself meanwhile is no error."""
        self._about_an_sa("terminate", wire.encode_terminate(ike_unique_id, at_once))

    def terminate_child(self, child_unique_id: int) -> None:
        """Close one CHILD_SA; one that ended by itself meanwhile is no error."""
        self._about_an_sa("terminate", wire.encode_terminate_child(child_unique_id))

    def _about_an_sa(self, command: str, message: wire.Message) -> None:
        try:
            self._request(command, message)
        except DaemonError as error:
            if "no matching SAs" not in error.why and "not found" not in error.why:
                raise

    def rekey_child(self, child_unique_id: int) -> None:
        """Replace one CHILD_SA; one that ended by itself meanwhile is no error."""
        self._about_an_sa("rekey", wire.encode_rekey_child(child_unique_id))

    def initiate(self, connection: str, child: ChildName) -> None:
        """Ask for a child and do not wait."""
        self._request("initiate", wire.encode_initiate(connection, child))

    def close(self) -> None:
        """Drop the session; charon keeps everything."""
        if self._socket is not None:
            self._socket.close()
        self._session = self._socket = None

    def _request(self, command: str, message: wire.Message | None = None) -> dict[str, Any]:
        with self._guarded(command) as session:
            answer: dict[str, Any] = session.request(command, message)
            return answer

    def _stream(self, command: str, event: str) -> list[dict[str, Any]]:
        with self._guarded(command) as session:
            return list(session.streamed_request(command, event))

    @contextlib.contextmanager
    def _guarded(self, command: str) -> Iterator[vici.Session]:
        try:
            yield self._connected()
        except CommandException as error:
            why = str(error).removeprefix("Command failed: ")
            raise DaemonError(f"charon refused {command}", why=why) from None
        except TimeoutError:
            self.close()
            raise SilentDaemonError(
                f"charon did not answer {command} within {COMMAND_TIMEOUT_SECONDS:.0f} s",
                remedy="look at charon's log; restart it if it is stopped or stuck",
            ) from None
        except (OSError, SessionException, DeserializationException) as error:
            self.close()
            raise _away(self._path, error) from None
        except BaseException:
            self.close()  # the answer of an interrupted request must not be read by the next
            raise

    def _connected(self) -> vici.Session:
        if self._session is None:
            self._socket = connect(self._path)
            self._session = vici.Session(self._socket)
            self._instance += 1
        return self._session


class ViciEvents:
    """A thread that says when something happened in charon; what happened is then read anew."""

    def __init__(self, uri: str, wake: Callable[[], None]) -> None:
        self._path = socket_path(uri)
        self._wake = wake
        self._thread = threading.Thread(target=self._run, name="vici-events", daemon=True)

    def start(self) -> None:
        """Start listening; goes on until the process ends."""
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self._listen()
            except (OSError, SessionException, DeserializationException) as error:
                _log.debug("no events from charon: %s", error)
            time.sleep(RECONNECT_SECONDS)

    def _listen(self) -> None:
        with contextlib.closing(connect(self._path, socket.socket)) as sock:
            sock.settimeout(None)
            session = vici.Session(sock)
            self._wake()
            try:
                for _kind, _body in session.listen(list(EVENTS)):
                    self._wake()
            finally:
                self._wake()  # it went; not at each look for one that is away


class _LimitedSocket(socket.socket):
    """Keeps its time limit: the client library lifts it once the first bytes of a message came,
    and would then wait for ever for a charon that stopped in the middle of one."""

    def settimeout(self, value: float | None) -> None:
        super().settimeout(COMMAND_TIMEOUT_SECONDS if value is None else value)


def connect(path: str, kind: type[socket.socket] = _LimitedSocket) -> socket.socket:
    """A connected socket with the commands' time limit."""
    sock = kind(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(COMMAND_TIMEOUT_SECONDS)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _away(path: str, error: Exception) -> DaemonError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return DaemonError(
        f"charon does not answer at {path}",
        why=why,
        remedy="start charon-systemd with deploy/strongswan.conf",
    )
