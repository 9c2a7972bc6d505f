"""The agent's own files and threads: the lock, the status file, the enrolment."""

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from geneveil.agent.config import AgentConfig
from geneveil.agent.enrolment import (
    Situation,
    explain_failure,
    must_enrol,
    needs_other_key,
    retry_seconds,
)
from geneveil.agent.settings import encode_stored_settings
from geneveil.agent.store import (
    CERTIFICATE,
    KEY,
    OPERATOR_URL,
    PENDING_KEY,
    PUBLIC_FILE_MODE,
    SETTINGS,
    TRUST_BUNDLE,
    NodeStore,
    write_atomically,
)
from geneveil.enroll.io import EnrolmentClient
from geneveil.enroll.port import Bootstrap, JoinToken
from geneveil.model.clock import Clock
from geneveil.model.errors import ConfigError, GeneveilError, RefusedError
from geneveil.model.health import Finding
from geneveil.model.node_status import LOCK_FILE, NodeStatus, status_document

STATUS_FILE = "status.json"

LOCK_ATTEMPTS = 10
LOCK_PAUSE_SECONDS = 0.02
"""`geneveil status` holds the lock for an instant to see whether an agent does."""

_log = logging.getLogger("geneveil.agent")


def take_lock(run_dir: Path) -> int:
    """Make sure that this is the only agent here; held until the process ends, however it ends.

    Returns:
        The descriptor, to be kept open.
    Raises:
        ConfigError: another one runs, or the directory cannot be used.
    """
    try:
        run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(run_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"cannot use the run directory {run_dir}", why=str(error)) from None
    if not _try_lock(descriptor):
        holder = _read_holder(descriptor)
        os.close(descriptor)
        raise ConfigError(
            f"another agent (process {holder}) runs with {run_dir}",
            remedy="two agents would undo each other's work; stop one of them",
        )
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:  # only people read it: the lock is what counts
        _log.error("the process id cannot be written", extra={"fields": {"why": str(error)}})
    return descriptor


def _read_holder(descriptor: int) -> str:
    try:
        return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "?"
    except OSError:
        return "?"


def _try_lock(descriptor: int) -> bool:
    for _ in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(LOCK_PAUSE_SECONDS)
    return False


def write_status(run_dir: Path, status: NodeStatus) -> None:
    """Replace the status file; OSError is the caller's to report."""
    data = json.dumps(status_document(status), indent=1).encode() + b"\n"
    write_atomically(run_dir / STATUS_FILE, data, PUBLIC_FILE_MODE, durable=False)


class Enroller:
    """A thread that gets the node its certificate, for as long as it takes.

    It touches nothing but the state directory; the loop reads what it finds there.
    """

    def __init__(
        self, config: AgentConfig, store: NodeStore, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._wake = wake
        self._looked_at = threading.Event()
        self._token_changed = threading.Event()
        self._token_changed_at: float | None = None
        self._chassis = ""
        self._is_wanted = False
        self._failure: Finding | None = None
        self._thread = threading.Thread(target=self._run, name="enrolment", daemon=True)

    def start(self) -> None:
        """Start the thread; it waits until it is told that enrolment is wanted."""
        self._thread.start()

    @property
    def failure(self) -> Finding | None:
        """What the latest attempt said, if it failed and enrolment is still wanted."""
        return self._failure if self._is_wanted else None

    def update(self, chassis: str, has_identity: bool) -> None:
        """Tell it what the loop knows: our name, and whether there is a usable identity."""
        self._chassis = chassis
        token_changed_at = _changed_at(self._config.token_file)
        if token_changed_at != self._token_changed_at:
            self._token_changed_at = token_changed_at
            self._token_changed.set()  # somebody did something about it: no need to wait
        self._is_wanted = bool(chassis) and must_enrol(
            Situation(
                has_identity=has_identity,
                certificate_changed_at=_changed_at(self._store.directory / CERTIFICATE),
                token_changed_at=token_changed_at,
            )
        )
        if self._is_wanted:
            self._looked_at.set()

    def _run(self) -> None:
        attempts = 0
        while True:
            self._looked_at.wait()
            self._looked_at.clear()
            if not self._is_wanted:
                attempts = 0
                continue
            self._token_changed.clear()
            try:
                self._enrol(self._chassis)
                self._is_wanted, self._failure, attempts = False, None, 0
                _log.info("enrolled", extra={"fields": {"chassis": self._chassis}})
            except GeneveilError as error:
                self._failure = explain_failure(error)
                attempts += 1
            except Exception as error:
                _log.exception("enrolment failed in an unexpected way")
                self._failure = explain_failure(GeneveilError("enrolment failed", why=repr(error)))
                attempts += 1
            self._wake()
            if attempts and self._token_changed.wait(retry_seconds(self._chassis, attempts)):
                attempts = 0

    def _enrol(self, chassis: str) -> None:
        from geneveil.enroll.wire import parse_token
        from geneveil.pki.keyfiles import NamedBytes, parse_identity, parse_private_key
        from geneveil.pki.keys import build_request, encode_key, make_key

        token = parse_token(self._read_token())
        if token.chassis != chassis:
            raise ConfigError(
                f"the join token is for {token.chassis}, and this node is {chassis}",
                remedy=f"make one for this node: geneveil operator token {chassis}",
            )
        url = self._config.operator_url or token.url
        client = EnrolmentClient(url)
        bootstrap = client.fetch_bootstrap(token.ca_pin)
        self._store.write(OPERATOR_URL, url.encode())
        if self._store.has(CERTIFICATE):
            self._enrol_anew(client, token, bootstrap)
            return
        key_pem = self._store.read(KEY)
        if key_pem is None:
            key_pem = encode_key(make_key(bootstrap.settings.certificates.key_type))
            self._store.write(KEY, key_pem)
        key = NamedBytes(KEY, key_pem)
        request = build_request(parse_private_key(key), chassis)
        try:
            enrolment = client.enrol(token, request, bootstrap.trust_bundle_pem)
        except RefusedError as error:
            if needs_other_key(error):
                self._store.destroy(KEY)  # without a certificate it is of no use here
            raise
        certificate = NamedBytes(CERTIFICATE, enrolment.certificate_pem)
        bundle = NamedBytes(TRUST_BUNDLE, enrolment.trust_bundle_pem)
        parse_identity(key, certificate, bundle, chassis, self._clock.now())
        self._store.write(TRUST_BUNDLE, enrolment.trust_bundle_pem)
        self._store.write(SETTINGS, encode_stored_settings(enrolment.settings))
        # Last: a certificate on the disk says that the rest is there as well.
        self._store.write(CERTIFICATE, enrolment.certificate_pem)

    def _enrol_anew(self, client: EnrolmentClient, token: JoinToken, bootstrap: Bootstrap) -> None:
        """With a new key, which takes the place of the old one only when all of it has come."""
        from geneveil.agent.rotation.io import keep_certificate, prepare_request

        self._store.write(SETTINGS, encode_stored_settings(bootstrap.settings))
        key, request = prepare_request(self._store, token.chassis)
        try:
            enrolment = client.enrol(token, request, bootstrap.trust_bundle_pem)
        except RefusedError as error:
            if error.reason.startswith("csr-"):
                self._store.destroy(PENDING_KEY)  # the next attempt makes another
            raise
        parts = (key, enrolment.certificate_pem, enrolment.trust_bundle_pem)
        keep_certificate(self._store, token.chassis, parts, enrolment.settings, self._clock)

    def _read_token(self) -> str:
        path = self._config.token_file
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            why = "no such file"
        except (OSError, UnicodeDecodeError) as error:
            why = str(error)
        raise ConfigError(
            f"cannot read the join token {path}",
            why=why,
            remedy="make one: geneveil operator token NODE",
        )


def _changed_at(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
