"""Following what an API server has: nothing that goes wrong there ends it."""

import threading
from collections.abc import Iterator

import pytest

from geneveil.kube import loop
from geneveil.kube.errors import ApiUnavailableError
from geneveil.kube.kinds import NODES
from geneveil.kube.loop import Sink, follow
from geneveil.kube.port import Listing, Selection, WatchEvent
from geneveil.model.errors import GeneveilError
from tests.memory_kube_api import Memory


class Failing(Memory):
    """Its watches end as the test says, one after the other; then the test is over."""

    def __init__(self, *ends: Exception) -> None:
        super().__init__()
        self._ends = list(ends)
        self.stop = threading.Event()

    def watch(self, selection: Selection, version: str, seconds: int = 300) -> Iterator[WatchEvent]:
        if not self._ends:
            self.stop.set()
            return
        raise self._ends.pop(0)
        yield


@pytest.mark.parametrize("end", [ApiUnavailableError("away"), TypeError("a bug"), KeyError("name")])
def test_whatever_ends_a_watch_all_is_listed_anew(
    end: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "FIRST_PAUSE_SECONDS", 0.0)
    api = Failing(end)
    listings: list[Listing] = []
    failures: list[GeneveilError] = []
    sink = Sink(listings.append, lambda change, document: None, failures.append)
    follow(api, Selection(NODES), sink, api.stop)
    assert len(listings) == 2
    (failure,) = failures
    assert str(end.args[0]) in failure.render()
