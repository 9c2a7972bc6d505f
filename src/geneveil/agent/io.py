"""The agent's own files and threads: the lock, the status file, the enrolment."""

import fcntl
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from geneveil.agent.enrolment import (
    Situation,
    explain_failure,
    must_enrol,
    needs_other_key,
    pause_after,
)
from geneveil.agent.plane.port import ControlPlane
from geneveil.agent.settings import encode_stored_settings
from geneveil.agent.store import (
    CERTIFICATE,
    KEY,
    PENDING_CERTIFICATE,
    PENDING_KEY,
    PUBLIC_FILE_MODE,
    SETTINGS,
    SPENT_TOKEN,
    TRUST_BUNDLE,
    NodeStore,
    write_atomically,
)
from geneveil.enroll.port import Bootstrap, EnrolmentPort, JoinToken
from geneveil.model.clock import Clock
from geneveil.model.errors import ConfigError, GeneveilError, RefusedError
from geneveil.model.health import Finding
from geneveil.model.node_status import LOCK_FILE, NodeStatus, status_document

STATUS_FILE = "status.json"

LOCK_MODE = 0o600
"""Whoever may open the file may lock it, and so keep the agent from starting."""

LOCK_ATTEMPTS = 10
LOCK_PAUSE_SECONDS = 0.02
"""`geneveil status`, run by root, holds the lock for an instant to see whether an agent does."""

_log = logging.getLogger("geneveil.agent")


def take_lock(run_dir: Path) -> int:
    """Make sure that this is the only agent here; held until the process ends, however it ends.

    Returns:
        The descriptor, to be kept open.
    Raises:
        ConfigError: another one runs, or the directory cannot be used or is not ours alone.
    """
    try:
        run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        _keep_others_out(run_dir)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(run_dir / LOCK_FILE, flags, LOCK_MODE)
        os.fchmod(descriptor, LOCK_MODE)  # one of an older agent, that all could read
    except OSError as error:
        raise ConfigError(
            f"cannot use the run directory {run_dir}",
            why=error.strerror or str(error),
            remedy="run as root" if isinstance(error, PermissionError) else "",
        ) from None
    if not _try_lock(descriptor):
        holder = _read_holder(descriptor)
        os.close(descriptor)
        raise ConfigError(
            f"another agent (process {holder}) runs with {run_dir}",
            remedy="two agents would undo each other's work; stop one of them "
            f"(fuser {run_dir / LOCK_FILE} names whoever holds the lock)",
        )
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:  # only people read it: the lock is what counts
        _log.error("the process id cannot be written", extra={"fields": {"why": str(error)}})
    return descriptor


def _keep_others_out(run_dir: Path) -> None:
    """Whoever may write the directory may put another lock there, or another status."""
    found = run_dir.stat()
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"the run directory {run_dir} belongs to user {found.st_uid}",
            remedy="give it to root, or name another one (runDir)",
        )
    if not found.st_mode & 0o022:
        return
    if found.st_mode & stat.S_ISVTX:
        raise ConfigError(
            f"the run directory {run_dir} is for everybody",
            remedy="name one that only root can write (runDir)",
        )
    run_dir.chmod(stat.S_IMODE(found.st_mode) & ~0o022)


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
        self, plane: ControlPlane, store: NodeStore, clock: Clock, wake: Callable[[], None]
    ) -> None:
        self._plane = plane
        self._store = store
        self._clock = clock
        self._wake = wake
        self._looked_at = threading.Event()
        self._token_changed = threading.Event()
        self._token: str | None = None
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

    def update(self, chassis: str, has_identity: bool, is_refused: bool) -> None:
        """Tell it what the loop knows: our name, whether there is a usable identity, and whether
        the operator will not have it."""
        self._chassis = chassis
        token = self._plane.token_digest()
        if token != self._token:
            self._token = token
            self._token_changed.set()  # somebody did something about it: no need to wait
        certificate, unreadable = self._store.try_read(CERTIFICATE)
        spent, _unreadable = self._store.try_read(SPENT_TOKEN)
        self._is_wanted = bool(chassis) and must_enrol(
            Situation(
                has_identity=has_identity,
                has_certificate=certificate is not None or unreadable is not None,
                token=token,
                spent=None if spent is None else spent.decode("ascii", "replace").strip(),
                needs_token=self._plane.needs_token,
                is_refused=is_refused,
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
            error = self._attempt()
            attempts = attempts + 1 if error else 0
            self._wake()
            if error is None:
                continue
            pause = pause_after(error, self._chassis, attempts, self._plane.needs_token)
            if self._token_changed.wait(pause):
                attempts = 0

    def _attempt(self) -> GeneveilError | None:
        try:
            self._enrol(self._chassis)
            self._is_wanted, self._failure = False, None
            _log.info("enrolled", extra={"fields": {"chassis": self._chassis}})
            return None
        except GeneveilError as error:
            self._failure = explain_failure(error)
            return error
        except Exception as error:
            _log.exception("enrolment failed in an unexpected way")
            unexpected = GeneveilError("enrolment failed", why=repr(error))
            self._failure = explain_failure(unexpected)
            return unexpected

    def _enrol(self, chassis: str) -> None:
        if self._store.has(PENDING_CERTIFICATE):
            return  # it has come; the loop takes it into use
        digest = self._plane.token_digest()
        token = self._plane.token(chassis)
        client = self._plane.join(token)
        bootstrap = client.fetch_bootstrap(token.ca_pin)
        self._plane.joined(token)
        if self._store.has(CERTIFICATE) or not self._plane.needs_token:
            self._enrol_anew(client, token, bootstrap)
        else:
            self._enrol_first(client, token, bootstrap)
        if digest:  # after the certificate: else a crash in between would leave the node without
            self._store.write(SPENT_TOKEN, digest.encode())

    def _enrol_first(self, client: EnrolmentPort, token: JoinToken, bootstrap: Bootstrap) -> None:
        from geneveil.pki.keyfiles import NamedBytes, parse_identity, parse_private_key
        from geneveil.pki.keys import build_request, encode_key, make_key

        key_pem = self._store.read(KEY)
        if key_pem is None:
            key_pem = encode_key(make_key(bootstrap.settings.certificates.key_type))
            self._store.write(KEY, key_pem)
        key = NamedBytes(KEY, key_pem)
        request = build_request(parse_private_key(key), token.chassis)
        try:
            enrolment = client.enrol(token, request, bootstrap.trust_bundle_pem)
        except RefusedError as error:
            if needs_other_key(error):
                self._store.destroy(KEY)  # without a certificate it is of no use here
            raise
        certificate = NamedBytes(CERTIFICATE, enrolment.certificate_pem)
        bundle = NamedBytes(TRUST_BUNDLE, enrolment.trust_bundle_pem)
        parse_identity(key, certificate, bundle, token.chassis, self._clock.now())
        self._store.write(TRUST_BUNDLE, enrolment.trust_bundle_pem)
        self._store.write(SETTINGS, encode_stored_settings(enrolment.settings))
        # Last: a certificate on the disk says that the rest is there as well.
        self._store.write(CERTIFICATE, enrolment.certificate_pem)

    def _enrol_anew(self, client: EnrolmentPort, token: JoinToken, bootstrap: Bootstrap) -> None:
        """With a new key, which takes the place of the old one only when all of it has come."""
        from geneveil.agent.rotation.io import keep_certificate, prepare_request

        self._store.write(SETTINGS, encode_stored_settings(bootstrap.settings))
        key, request = prepare_request(self._store, token.chassis)
        try:
            enrolment = client.enrol(token, request, bootstrap.trust_bundle_pem)
        except RefusedError as error:
            if error.reason.startswith("csr-") or not self._plane.needs_token:
                # The next attempt makes another; where no token is spent the same request would
                # find the same refusal for as long as that is kept.
                self._store.destroy(PENDING_KEY)
            raise
        parts = (key, enrolment.certificate_pem, enrolment.trust_bundle_pem)
        keep_certificate(self._store, token.chassis, parts, enrolment.settings, self._clock)
