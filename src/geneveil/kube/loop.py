"""List, then watch, for as long as it takes: whoever follows always knows the newest state.

What a watch misses (a server restarted, history compacted, a server restored from an older
snapshot) is made good by a new list. A list that failed tells nothing: the last one stays.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from geneveil.kube.errors import GoneError
from geneveil.kube.port import Change, Document, KubePort, Listing, Selection
from geneveil.model.errors import GeneveilError, OperatorUnreachableError

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 20.0
WATCH_SECONDS = 300


@dataclass(frozen=True)
class Sink:
    """Where it goes; called in the follower's thread.

    Attributes:
        replaced: the whole state, after each list.
        changed: one object, as it is now; with DELETED, as it was last.
        failed: a list or watch ended with this error; it goes on by itself.
    """

    replaced: Callable[[Listing], None]
    changed: Callable[[Change, Document], None]
    failed: Callable[[GeneveilError], None]


def follow(port: KubePort, selection: Selection, sink: Sink, stop: threading.Event) -> None:
    """Follow until `stop` is set; `port.close()` ends a watch that waits.

    Nothing that is unexpected ends it: whoever hears of nothing any more would take that for rest.
    """
    pause = FIRST_PAUSE_SECONDS
    version = ""
    while not stop.is_set():
        try:
            if not version:
                listing = port.list_all(selection)
                sink.replaced(listing)
                version = listing.version
                pause = FIRST_PAUSE_SECONDS
            # a spread, so that a thousand watches do not end together
            seconds = WATCH_SECONDS + int(random.random() * WATCH_SECONDS)  # noqa: S311
            for event in port.watch(selection, version, seconds):
                version, pause = event.version, FIRST_PAUSE_SECONDS
                if event.change is not Change.BOOKMARK:
                    sink.changed(event.change, event.document)
                if stop.is_set():
                    return
        except GoneError:
            version = ""
            # a server that says so every time is not to be asked for lists without end
            stop.wait(FIRST_PAUSE_SECONDS * random.random())  # noqa: S311
        except Exception as unexpected:
            error = _explained(unexpected, selection)
            if stop.is_set():
                return
            sink.failed(error)
            # a server that was away may be one restored from an older snapshot, whose versions mean
            # something else: only a list is sure
            version = ""
            wanted = error.retry_after_seconds if isinstance(error, OperatorUnreachableError) else 0
            stop.wait(max(pause * (0.5 + random.random()), wanted))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _explained(error: Exception, selection: Selection) -> GeneveilError:
    if isinstance(error, GeneveilError):
        return error
    return GeneveilError(f"following {selection.kind.plural} failed", why=repr(error))


def start_following(
    port: KubePort, selection: Selection, sink: Sink, stop: threading.Event
) -> threading.Thread:
    """`follow` in a thread of its own, which ends with the process."""
    name = f"follow-{selection.kind.plural}"
    thread = threading.Thread(target=follow, args=(port, selection, sink, stop), name=name)
    thread.daemon = True
    thread.start()
    return thread
