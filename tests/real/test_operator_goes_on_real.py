"""What an operator cannot do keeps it from nothing else: revocations reach the nodes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from geneveil.enroll.io import HOLD_SECONDS
from geneveil.enroll.port import WatchAnswer
from tests.operator_process import DEADLINE_SECONDS, Operator, geneveil, init, start
from tests.operator_thread import AheadClock, OperatorThread
from tests.real.test_operator_trust_real import AWAY_AFTER, Node, enrol, restart, wait_until

pytestmark = pytest.mark.real


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    made = start(init(tmp_path), *AWAY_AFTER)
    yield made
    if made.process.poll() is None:
        made.stop()


def log_of(operator: Operator) -> str:
    return (operator.state.parent / f"{operator.state.name}.log").read_text()


@contextmanager
def blocked(path: Path) -> Iterator[None]:
    """Nothing can be written there: its place is taken."""
    place = path.with_name(f"{path.name}.fresh")
    place.mkdir()
    yield
    place.rmdir()


def hear_of(node: Node, gone: str) -> WatchAnswer:
    """What the node is told when that chassis is revoked: at once, not when its watch ends."""
    heard: list[WatchAnswer] = []

    def hold() -> None:
        while not heard:
            answer = node.watch()
            if gone in answer.revoked_chassis:
                heard.append(answer)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    thread.join(DEADLINE_SECONDS)
    assert heard, f"the node never heard that {gone} was revoked"
    assert heard[0].held_seconds < HOLD_SECONDS / 2
    return heard[0]


def test_a_disk_that_takes_no_key_keeps_no_revocation_back(operator: Operator) -> None:
    node = enrol(operator, "node-1")
    enrol(operator, "node-2")
    with blocked(operator.state / "cluster" / "ca-2.key"):
        operator.command("ca", "rotate")
        wait_until(lambda: "keeping-failed" in log_of(operator), "the failure is told")
        operator.command("revoke", "node-2")
        assert hear_of(node, "node-2").crls_pem
        assert operator.read("ca", "status")["phase"] == "steady"
        assert "ca-2.key can't be written" in log_of(operator)
        assert operator.process.poll() is None
    wait_until(lambda: operator.read("ca", "status")["phase"] != "steady", "it goes on by itself")
    wait_until(lambda: "keeping-again" in log_of(operator), "that is told")
    assert operator.read("log", "--check")["whole"]


def test_a_servers_file_that_can_t_be_written_keeps_no_revocation_back(operator: Operator) -> None:
    node = enrol(operator, "node-1")
    enrol(operator, "node-2")
    server_file = operator.state / "cluster" / "server.pem"
    with blocked(server_file):
        server_file.unlink()
        wait_until(lambda: "keeping-failed" in log_of(operator), "the failure is told")
        before = operator.read("list", "--all")["certificates"]
        operator.command("revoke", "node-2")
        hear_of(node, "node-2")
        made = operator.read("list", "--all")["certificates"]
        assert len(made) == len(before)  # none for each attempt
        operator.stop()
        done = geneveil("run", "--state-dir", str(operator.state), expect=1)
        assert "server.pem can't be written" in done.stderr
    restart(operator)
    node.generation = 0  # it is answered at once
    assert node.watch().revoked_chassis == ("node-2",)


def test_one_key_that_can_t_be_read_keeps_no_revocation_back(operator: Operator) -> None:
    node, gone = enrol(operator, "node-1"), enrol(operator, "gone")
    node.start()
    operator.command("ca", "rotate", "--wave", "1s")
    wait_until(lambda: operator.read("ca", "status")["phase"] == "retire", "only one is away")
    node.stop()
    key = operator.state / "cluster" / "ca-1.key"
    operator.stop()
    key.chmod(0o644)
    restart(operator)
    operator.command("revoke", "gone")
    hear_of(node, "gone")
    wait_until(lambda: "ca-1.key can be read by others" in log_of(operator), "that is told")
    wait_until(lambda: operator.read("ca", "status")["phase"] == "steady", "nor the roll-over")
    assert not key.exists()
    assert gone.trusts != node.trusts


@pytest.mark.parametrize("with_mark", [True, False])
def test_an_operator_that_was_off_past_its_authoritys_end_starts(
    operator: Operator, with_mark: bool
) -> None:
    enrol(operator, "node-1").watch()
    operator.stop()
    if not with_mark:
        (operator.state / "cluster" / "clock-believed").unlink()
    clock = AheadClock()
    clock.ahead = timedelta(days=366 * 11)
    with OperatorThread(operator.state, clock) as late:
        pin = operator.token("node-2").ca_pin
        if with_mark:  # else nobody knows what time it may be
            assert late.client.fetch_bootstrap(pin).trust_bundle_pem
        operator.command("ca", "rotate")  # a person says that the clock is right
        wait_until(
            lambda: (
                [one["authority"] for one in operator.read("ca", "status")["authorities"]] == [2]
            ),
            "another authority took the place of the one that ended",
        )
