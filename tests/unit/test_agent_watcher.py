"""How often a node asks an operator that answers at once, or does not send what was lost."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from geneveil.agent.rotation import io as rotation
from geneveil.agent.rotation.io import (
    ANEW_SECONDS,
    LONGEST_PAUSE_SECONDS,
    SHORTEST_WATCH_SECONDS,
    Confirmation,
    Watcher,
    has_settings,
)
from geneveil.agent.rotation.watch import parse_record
from geneveil.agent.store import (
    CERTIFICATE,
    CRLS,
    KEY,
    SETTINGS,
    TRUST_BUNDLE,
    WATCH,
    NodeStore,
)
from geneveil.enroll.port import NodeCredential, WatchAnswer, WatchState
from geneveil.model.cluster import ClusterSettings
from geneveil.model.errors import OperatorUnreachableError
from geneveil.pki.keys import encode_key
from tests.unit.test_agent_rotation import LEAF_PEM, NODE_KEY, NOW, OLD_PEM, answer

WITHOUT_SETTINGS = Confirmation("node1", (), (), "0a" * 20, (), has_settings=False)


@dataclass
class OldOperator:
    """Answers with its generation and without settings; holds a question that knows it."""

    holds: bool = True
    is_away: bool = False
    settings: ClusterSettings | None = None
    asked: list[int] = field(default_factory=list)

    def watch(self, state: WatchState, _identity: NodeCredential, _bundle: bytes) -> WatchAnswer:
        self.asked.append(state.generation)
        if self.is_away:
            raise OperatorUnreachableError("it is away")
        said = answer(OLD_PEM)
        held_seconds = 60.0 if self.holds and state.generation == said.generation else 0.0
        return WatchAnswer(
            said.generation, OLD_PEM, (), (), said.renew_from, None, held_seconds,
            settings=self.settings,
        )  # fmt: skip

    def close(self) -> None:
        pass


class Clock:
    """Stands still."""

    def now(self) -> datetime:
        return NOW


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    at = [1000.0]
    monkeypatch.setattr(rotation, "time", SimpleNamespace(monotonic=lambda: at[0]))
    return at


@pytest.fixture
def store(tmp_path: Path) -> NodeStore:
    made = NodeStore(tmp_path)
    made.write(KEY, encode_key(NODE_KEY))
    made.write(CERTIFICATE, LEAF_PEM)
    made.write(TRUST_BUNDLE, OLD_PEM)
    return made


def watcher_of(operator: Any, store: NodeStore, confirmation: Confirmation) -> Watcher:
    made = Watcher(lambda: operator, store, Clock(), lambda: None)
    made.update(confirmation)
    return made


def test_an_operator_that_does_not_send_the_settings_is_asked_for_them_now_and_then(
    store: NodeStore, now: list[float]
) -> None:
    operator = OldOperator()
    watcher = watcher_of(operator, store, WITHOUT_SETTINGS)
    for _ in range(4):
        assert watcher._attempt() == 0.0
    assert operator.asked == [0, 7, 7, 7]  # the held ones take a minute each
    now[0] += ANEW_SECONDS
    for _ in range(3):
        assert watcher._attempt() == 0.0
    assert operator.asked[4:] == [0, 7, 7]
    operator.is_away = True
    with pytest.raises(OperatorUnreachableError):
        watcher._attempt()
    operator.is_away, operator.settings = False, ClusterSettings()  # a newer one came
    watcher._attempt()
    assert operator.asked[-1] == 0
    assert has_settings(store)


def test_settings_that_are_lost_again_are_asked_for_at_once(
    store: NodeStore, now: list[float]
) -> None:
    operator = OldOperator(settings=ClusterSettings())
    watcher = watcher_of(operator, store, WITHOUT_SETTINGS)
    watcher._attempt()
    watcher._attempt()  # the loop has not looked yet: it is not asked for all of it again
    assert operator.asked == [0, 7]
    watcher.update(replace(WITHOUT_SETTINGS, has_settings=True))
    watcher.update(WITHOUT_SETTINGS)
    store.write(SETTINGS, b"x")
    watcher._attempt()
    assert operator.asked == [0, 7, 0]
    assert has_settings(store)


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"\xff"])
def test_a_damaged_record_and_damaged_lists_heal_from_the_next_answer(
    store: NodeStore, now: list[float], damage: bytes
) -> None:
    store.write(WATCH, damage)
    store.write(CRLS, b"-----BEGIN X509 CRL-----\nAAAA\n")
    operator = OldOperator()
    watcher = watcher_of(operator, store, Confirmation("node1", (), (), "0a" * 20, ()))
    operator.is_away = True
    with pytest.raises(OperatorUnreachableError):
        watcher._attempt()
    assert store.read(WATCH) == damage  # it is not taken for one that says nothing
    operator.is_away = False
    assert watcher._attempt() == 0.0
    assert operator.asked == [0, 0]  # answered at once
    assert parse_record(store.read(WATCH)).generation == 7
    assert store.read(CRLS) == b""


def test_an_operator_that_holds_no_question_is_asked_less_and_less_often(
    store: NodeStore, now: list[float]
) -> None:
    operator = OldOperator(holds=False)
    watcher = watcher_of(operator, store, Confirmation("node1", (), (), "0a" * 20, ()))
    assert watcher._attempt() == 0.0  # its first answer is news
    pauses = [watcher._attempt() for _ in range(12)]
    assert pauses[0] == SHORTEST_WATCH_SECONDS
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    operator.holds = True
    assert watcher._attempt() == 0.0
    operator.holds = False
    assert watcher._attempt() == SHORTEST_WATCH_SECONDS
    assert store.has(WATCH)
