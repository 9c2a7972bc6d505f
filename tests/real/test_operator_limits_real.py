"""Who floods, or meets a busy operator, is told when to come back; a node's client obeys."""

import http.client
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geneveil.agent.config import AgentConfig
from geneveil.agent.io import Enroller
from geneveil.agent.plane.io import StandalonePlane
from geneveil.agent.store import CERTIFICATE, NodeStore
from geneveil.model.clock import SystemClock
from geneveil.model.errors import OperatorUnreachableError
from geneveil.operator import loop as operator_loop
from geneveil.operator.limits import ADDRESS_BURST, REFUSAL_COST
from geneveil.operator.queue.loop import BatchQueue
from tests.operator_process import DEADLINE_SECONDS, Operator, geneveil, init, running
from tests.operator_thread import AheadClock, OperatorThread

pytestmark = pytest.mark.real

ASKED_SECONDS = 3.0
"""Longer than an agent waits after its first attempt of its own accord."""


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with running(tmp_path_factory.mktemp("operator")) as made:
        yield made


def connect(port: int, address: str) -> http.client.HTTPSConnection:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    source = (address, 0)
    return http.client.HTTPSConnection("127.0.0.1", port, context=context, source_address=source)


def ask(connection: http.client.HTTPSConnection, path: str, body: bytes | None) -> tuple[int, Any]:
    """The status, and the seconds of Retry-After; None if there is no such header."""
    headers = {"Content-Type": "application/json"}
    connection.request("GET" if body is None else "POST", path, body, headers)
    response = connection.getresponse()
    response.read()
    wait = response.getheader("Retry-After")
    return response.status, None if wait is None else int(wait)


def test_who_floods_is_told_when_to_come_back_and_others_are_answered(operator: Operator) -> None:
    pin = operator.token().ca_pin
    before = len(operator.read("log")["entries"])
    flooding, neighbour = connect(operator.port, "127.0.0.1"), connect(operator.port, "127.0.0.2")
    refusals, told = 0, None
    while told is None:  # the client's own request must come while the bucket is empty
        status, wait = ask(flooding, "/v1/enrol", b"{")
        refusals += status == 400
        if status != 429:
            continue
        assert wait >= 1
        try:
            operator.client.fetch_bootstrap(pin)
        except OperatorUnreachableError as error:
            told = error
    assert refusals >= ADDRESS_BURST / REFUSAL_COST / 2
    assert "too many requests" in told.why
    assert told.retry_after_seconds >= 1
    assert ask(neighbour, "/healthz", None) == (200, None)
    assert len(operator.read("log")["entries"]) - before < 10
    flooding.close()
    neighbour.close()


def test_an_agent_that_was_turned_away_comes_back_when_it_was_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, turned_away = init(tmp_path), []

    class Full(BatchQueue):
        """Full for two requests."""

        def _promise(self) -> float:
            turned_away.append(time.monotonic())
            self._most_waiting = 0 if len(turned_away) < 2 else 1024
            return ASKED_SECONDS

    monkeypatch.setattr(operator_loop, "BatchQueue", lambda store, one: Full(store, one, 0))
    store, enrolled = NodeStore(tmp_path / "node"), threading.Event()
    store.prepare()
    with OperatorThread(state, AheadClock()) as operator:
        (tmp_path / "token").write_text(
            geneveil("token", "node-1", "--state-dir", str(state)).stdout
        )
        config = AgentConfig(
            operator_url=f"https://127.0.0.1:{operator.port}", token_file=tmp_path / "token"
        )
        plane = StandalonePlane(config, store)
        enroller = Enroller(plane, store, SystemClock(), enrolled.set)
        enroller.start()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not store.has(CERTIFICATE):
            assert time.monotonic() < deadline, turned_away
            enroller.update("node-1", has_identity=False, is_refused=False)
            enrolled.wait(0.05)
    first, second = turned_away
    assert second - first >= ASKED_SECONDS


def test_a_full_line_is_answered_at_once_and_what_needs_none_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_loop, "BatchQueue", lambda store, one: BatchQueue(store, one, 0))
    with OperatorThread(init(tmp_path), AheadClock()) as operator:
        connection = connect(operator.port, "127.0.0.1")
        assert ask(connection, "/v1/enrol", b"{") == (503, 1)
        assert ask(connection, "/healthz", None) == (200, None)
        connection.close()
