"""The two threads that talk to the operator: one holds a watch, one renews.

They touch nothing but the state directory; the loop reads what they wrote. Both wait by the clock
that only goes forward, and what is wanted of them is decided anew at each turn of the loop.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from geneveil.agent.plane.port import ControlPlane
from geneveil.agent.rotation.renewal import is_refused, pause_after
from geneveil.agent.rotation.watch import (
    WatchRecord,
    encode_record,
    forget,
    judge_answer,
    try_parse_record,
)
from geneveil.agent.settings import encode_stored_settings, parse_stored_settings
from geneveil.agent.store import (
    CERTIFICATE,
    CRLS,
    DROPPED,
    KEY,
    PENDING_CERTIFICATE,
    PENDING_KEY,
    PENDING_REQUEST,
    SETTINGS,
    TRUST_BUNDLE,
    WATCH,
    NodeStore,
)
from geneveil.enroll.port import EnrolmentPort, NodeCredential, WatchState
from geneveil.model.clock import Clock
from geneveil.model.cluster import ClusterSettings, KeyType
from geneveil.model.errors import (
    GeneveilError,
    OperatorUnreachableError,
    RefusedError,
    TrustError,
)
from geneveil.pki.keyfiles import (
    NamedBytes,
    find_issuer,
    parse_bundle,
    parse_certificate,
    parse_identity,
    parse_private_key,
)
from geneveil.pki.keys import build_request, encode_key, key_type_of, make_key

SHORTEST_WATCH_SECONDS = 0.5
"""An operator that answers the same at once, again and again, is not asked more often than this,
and then less and less often."""

LONGEST_PAUSE_SECONDS = 5.0
"""Between two questions: whoever is revoked must go soon, also with an operator that holds none."""

ANEW_SECONDS = 60.0
"""How often an operator that did not send the settings (an older one), or whose settings this node
can't keep, is asked for all anew."""

_log = logging.getLogger("geneveil.agent")


@dataclass(frozen=True)
class Confirmation:
    """What this node has now, as far as charon and the kernel show it; see `WatchState`.

    `has_settings`: the cluster's settings are there; without them it asks to be told all anew.
    """

    chassis: str
    trusts: tuple[str, ...]
    crls: tuple[tuple[str, int], ...]
    serial: str
    in_use: tuple[str, ...]
    has_settings: bool = True


class _Asking:
    """A thread that does one thing again and again, for as long as it is wanted."""

    def __init__(self, name: str, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._changed = threading.Event()
        self._failure: GeneveilError | None = None
        self._seed = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; it waits until it is told what is wanted."""
        self._thread.start()

    def retry(self) -> None:
        """Do not wait any longer: what made the latest attempt fail may be over."""
        self._changed.set()

    @property
    def failure(self) -> GeneveilError | None:
        """What the latest attempt ended in, if it failed and is still wanted."""
        return self._failure if self._is_wanted() else None

    def _is_wanted(self) -> bool:
        raise NotImplementedError

    def _attempt(self) -> float:
        """Do it once; how long to pause after it. GeneveilError: it failed."""
        raise NotImplementedError

    def _run(self) -> None:
        attempts = 0
        while True:
            if not self._is_wanted():
                attempts, self._failure = 0, None
                self._changed.wait()
                self._changed.clear()
                continue
            self._changed.clear()
            pause, before = 0.0, self._failure
            try:
                pause = self._attempt()
                attempts, self._failure = 0, None
            except GeneveilError as error:
                attempts, self._failure = attempts + 1, error
            except Exception as error:
                _log.exception("asking the operator failed in an unexpected way")
                attempts += 1
                self._failure = GeneveilError("asking the operator failed", why=repr(error))
            if self._failure is not None:
                pause = pause_after(self._failure, f"{self._thread.name} {self._seed}", attempts)
            if self._failure is not None or before is not None:
                self._wake()
            if pause and self._changed.wait(pause):
                attempts = 0


class Watcher(_Asking):
    """Holds the watch, keeps what it brings, and confirms what charon has."""

    def __init__(
        self,
        choose: Callable[[], EnrolmentPort],
        store: NodeStore,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        super().__init__("watch", wake)
        self._choose = choose
        self._store = store
        self._clock = clock
        self._confirmation: Confirmation | None = None
        self._asked: Confirmation | None = None
        self._client: EnrolmentPort | None = None
        self._anew_at_seconds = 0.0
        self._quick_answers = 0

    def update(self, confirmation: Confirmation | None) -> None:
        """Tell it what the node has; None while it has no certificate to ask with.

        A watch that is held is ended when this changed, so that the operator hears it at once.
        """
        if confirmation == self._confirmation:
            return
        self._confirmation = confirmation
        self._seed = confirmation.chassis if confirmation else ""
        if confirmation is not None and confirmation.has_settings:
            self._anew_at_seconds = 0.0  # when they are lost again, they are asked for at once
        client = self._client
        if client is not None and self._asked is not None and self._asked != confirmation:
            client.close()
        self._changed.set()

    def _is_wanted(self) -> bool:
        return self._confirmation is not None

    def _attempt(self) -> float:
        confirmation = self._confirmation
        if confirmation is None:
            return 0.0
        key, certificate, bundle = (self._need(n) for n in (KEY, CERTIFICATE, TRUST_BUNDLE))
        # One that is damaged is asked for anew: the answer takes its place.
        record = try_parse_record(self._store.read(WATCH)) or WatchRecord()
        lost = not confirmation.has_settings and time.monotonic() >= self._anew_at_seconds
        state = WatchState(
            generation=0 if lost else record.generation,  # then the answer comes at once
            trusts=confirmation.trusts,
            crls=confirmation.crls,
            serial=confirmation.serial,
            in_use=confirmation.in_use,
        )
        client = self._client = self._choose()
        self._asked = confirmation
        try:
            answer = client.watch(state, NodeCredential(key, certificate), bundle)
        except OperatorUnreachableError:
            if confirmation != self._confirmation:
                return 0.0  # `update` ended it: ask again with what is true now
            self._anew_at_seconds = 0.0  # the next one to answer may be a newer one
            raise
        finally:
            self._asked = None
        if lost:
            self._anew_at_seconds = time.monotonic() + ANEW_SECONDS
        if lost and answer.settings is not None:
            self._store.write(SETTINGS, encode_stored_settings(answer.settings))
            _log.info("the operator sent the cluster's settings again")
            self._wake()
        crls, dropped = self._store.read(CRLS), self._store.read(DROPPED)
        update = judge_answer(answer, certificate, bundle, crls, dropped, self._clock.now())
        # What must go first, what says that all is there last.
        for name, data in (
            (DROPPED, update.dropped),
            (CRLS, update.crls),
            (TRUST_BUNDLE, update.bundle),
            (WATCH, update.record),
        ):
            if data is not None:
                self._store.write(name, data)
        if answer.generation != record.generation:
            fields = {"generation": answer.generation, "revoked": len(answer.revoked_chassis)}
            _log.info("news from the operator", extra={"fields": fields})
            self._wake()
            return 0.0
        if answer.held_seconds >= SHORTEST_WATCH_SECONDS or lost:
            self._quick_answers = 0
            return 0.0
        self._quick_answers = min(self._quick_answers + 1, 10)
        return min(SHORTEST_WATCH_SECONDS * 2.0 ** (self._quick_answers - 1), LONGEST_PAUSE_SECONDS)

    def _need(self, name: str) -> bytes:
        data = self._store.read(name)
        if data is None:
            raise TrustError(f"{self._store.directory / name} is gone")
        return data


class Renewer(_Asking):
    """Gets the node a new certificate for a new key, with the old one as proof."""

    def __init__(
        self, plane: ControlPlane, store: NodeStore, clock: Clock, wake: Callable[[], None]
    ) -> None:
        super().__init__("renewal", wake)
        self._plane = plane
        self._store = store
        self._clock = clock
        self._wanted_for = ""

    def update(self, chassis: str, wanted: bool) -> None:
        """Tell it whether a new certificate is wanted; repeated at every turn of the loop."""
        wanted_for = chassis if wanted else ""
        if wanted_for != self._wanted_for:
            self._wanted_for = self._seed = wanted_for
            self._changed.set()

    def _is_wanted(self) -> bool:
        return bool(self._wanted_for)

    def _attempt(self) -> float:
        chassis = self._wanted_for
        if not chassis or self._store.has(PENDING_CERTIFICATE):
            return 1.0  # it has come; the loop takes it into use
        key = self._store.read(KEY)
        certificate, bundle = self._store.read(CERTIFICATE), self._store.read(TRUST_BUNDLE)
        if key is None or certificate is None or bundle is None:
            raise TrustError("key, certificate or trust bundle is gone")
        pending, request = prepare_request(self._store, chassis)
        try:
            renewal = self._plane.renewer().renew(request, NodeCredential(key, certificate), bundle)
        except RefusedError as error:
            if error.reason.startswith("csr-") or not self._plane.needs_token:
                self._store.destroy(PENDING_KEY)  # the next attempt makes another
            if is_refused(error):
                _log.error("renewal refused", extra={"fields": {"reason": error.reason}})
            raise
        if self._store.read(CERTIFICATE) != certificate:
            return 1.0  # somebody enrolled the node anew meanwhile
        keep_certificate(
            self._store,
            chassis,
            (pending, renewal.certificate_pem, renewal.trust_bundle_pem),
            renewal.settings,
            self._clock,
        )
        _log.info("renewed", extra={"fields": {"chassis": chassis}})
        self._wake()
        return 1.0


def has_settings(store: NodeStore) -> bool:
    """Whether the cluster's settings are there, and whole."""
    stored, problem = store.try_read(SETTINGS)
    if stored is None or problem is not None:
        return False
    try:
        parse_stored_settings(stored, SETTINGS)
    except TrustError:
        return False
    return True


def choose_key_type(store: NodeStore) -> KeyType:
    """As the settings say; while they are lost, that of the certificate in use: the operator took
    it once. TrustError if neither tells."""
    stored = store.read(SETTINGS)
    if stored is not None and has_settings(store):
        return parse_stored_settings(stored, SETTINGS).certificates.key_type
    certificate = store.read(CERTIFICATE)
    if certificate is None:
        return ClusterSettings().certificates.key_type
    key = parse_certificate(NamedBytes(CERTIFICATE, certificate)).public_key()
    return key_type_of(key)


def prepare_request(store: NodeStore, chassis: str) -> tuple[bytes, bytes]:
    """A new key and the request for it: the same bytes until an answer has come."""
    key, request = store.read(PENDING_KEY), store.read(PENDING_REQUEST)
    try:
        parse_private_key(NamedBytes(PENDING_KEY, key or b""))
    except TrustError:
        key = None  # none yet, or one that was being destroyed when the power went
    if key is None:
        key, request = encode_key(make_key(choose_key_type(store))), None
        store.remove(PENDING_REQUEST)
        store.write(PENDING_KEY, key)
    if request is None:
        request = build_request(parse_private_key(NamedBytes(PENDING_KEY, key)), chassis)
        store.write(PENDING_REQUEST, request)
    return key, request


def keep_certificate(
    store: NodeStore,
    chassis: str,
    parts: tuple[bytes, bytes, bytes],
    settings: ClusterSettings,
    clock: Clock,
) -> None:
    """Check a new certificate against its key, and write it as the pending one, last.

    Args:
        parts: key, certificate and trust bundle, PEM.
    Raises:
        TrustError: they do not fit one another; nothing was written.
    """
    names = (PENDING_KEY, PENDING_CERTIFICATE, TRUST_BUNDLE)
    files = [NamedBytes(name, data) for name, data in zip(names, parts, strict=True)]
    parse_identity(files[0], files[1], files[2], chassis, clock.now())
    held = store.read(TRUST_BUNDLE)
    trusted = held and find_issuer(
        parse_certificate(files[1]), parse_bundle(NamedBytes(TRUST_BUNDLE, held))
    )
    if not trusted:
        store.write(TRUST_BUNDLE, parts[2])
        record = try_parse_record(store.read(WATCH))
        if record is not None:  # one that is damaged is asked for anew in any case
            store.write(WATCH, encode_record(forget(record)))
    store.write(SETTINGS, encode_stored_settings(settings))
    store.write(PENDING_CERTIFICATE, parts[1])
