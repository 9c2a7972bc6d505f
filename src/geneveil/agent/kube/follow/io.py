"""A thread that knows what `geneveil-trust` says now, from one held watch.

It works while it is asked: after a failure it rests until somebody asks again, so that there is
one back-off, the asker's.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable

from geneveil.agent.kube.news import News, parse_news
from geneveil.agent.kube.place import Place
from geneveil.kube.errors import GoneError, MissingError
from geneveil.kube.kinds import CONFIG_MAPS, TRUST_CONFIG_MAP
from geneveil.kube.port import Change, KubePort
from geneveil.model.errors import GeneveilError, OperatorUnreachableError

SHORTEST_STREAM_SECONDS = 240
LONGEST_STREAM_SECONDS = 480
"""After how long the server ends a watch: nodes that began together do not begin again together."""

_log = logging.getLogger("geneveil.agent")


class TrustFollower:
    """The latest content of the ConfigMap. Its methods may be called from any thread.

    Attributes:
        failures: how often it could not follow, also while nobody waited.
    """

    def __init__(self, place: Place, connect: Callable[[], KubePort]) -> None:
        self._place = place
        self._connect = connect
        self._changed = threading.Condition()
        self._news: News | None = None
        self._failure: GeneveilError | None = None
        self._is_interrupted = False
        self._thread: threading.Thread | None = None
        self.failures = 0

    def await_news(self, generation: int | None, seconds: float) -> tuple[News, float]:
        """Wait until the generation is another than this, at most so long.

        Args:
            generation: None waits for whatever the ConfigMap says.
        Returns:
            What the ConfigMap says, the same if nothing changed, and how long that took.
        Raises:
            OperatorUnreachableError: the API server is away, or `interrupt` was called.
            GeneveilError: what the server said instead.
        """
        begun = time.monotonic()
        with self._changed:
            self._failure = None
            self._follow()
            while True:
                if self._is_interrupted:
                    self._is_interrupted = False
                    raise OperatorUnreachableError("the watch was closed")
                if self._failure is not None:
                    raise self._failure
                left = begun + seconds - time.monotonic()
                news = self._news
                if news is not None and (left <= 0 or news.answer.generation != generation):
                    return news, time.monotonic() - begun
                if left <= 0:
                    raise OperatorUnreachableError("the API server has not answered yet")
                self._changed.wait(left)

    def interrupt(self) -> None:
        """End a wait in another thread."""
        with self._changed:
            self._is_interrupted = True
            self._changed.notify_all()

    def calm(self) -> None:
        """Forget an `interrupt` that met nobody."""
        with self._changed:
            self._is_interrupted = False

    def _follow(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="trust", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            while True:
                self._read_and_watch()
        except GeneveilError as error:
            self._fail(error)
        except Exception as error:
            _log.exception("following the trust failed in an unexpected way")
            self._fail(GeneveilError("following the trust failed", why=repr(error)))

    def _fail(self, error: GeneveilError) -> None:
        with self._changed:
            self._failure = error
            self.failures += 1
            self._news = None  # what is not followed is not told as news
            self._thread = None
            self._changed.notify_all()

    def _read_and_watch(self) -> None:
        """Read the object, then hear of its changes until it must be read anew.

        The first watch begins with the object as it is, not with the version that was read: other
        ConfigMaps change all the time, and what a server remembers of them is short. A version
        that old is gone as soon as it is asked for, every time.
        """
        client = self._connect()
        document = client.read(CONFIG_MAPS, TRUST_CONFIG_MAP, self._place.namespace)
        self._tell(parse_news(document))
        version = ""
        rounds = 0
        while True:
            rounds += 1
            seconds = stream_seconds(f"{self._place.node} {rounds}")
            begun = time.monotonic()
            try:
                for event in self._connect().watch(self._place.trust, version, seconds):
                    version = event.version
                    if event.change is Change.DELETED:
                        raise MissingError(f"the ConfigMap {TRUST_CONFIG_MAP} was deleted")
                    if event.change is not Change.BOOKMARK:
                        self._tell(parse_news(event.document))
            except GoneError:
                if version:
                    return
            if time.monotonic() - begun < 1:  # a server that ends every watch at once
                raise OperatorUnreachableError("the API server ends the watch at once")

    def _tell(self, news: News) -> None:
        with self._changed:
            self._news = news
            self._changed.notify_all()


def stream_seconds(seed: str) -> int:
    """How long one stream is to last; the jitter comes from the seed."""
    digest = hashlib.sha256(f"geneveil watch {seed}".encode()).digest()
    spread = LONGEST_STREAM_SECONDS - SHORTEST_STREAM_SECONDS
    return SHORTEST_STREAM_SECONDS + int.from_bytes(digest[:4]) % spread
