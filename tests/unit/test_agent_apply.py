"""The actions of one turn: which are still tried when one fails."""

from collections.abc import Callable
from typing import cast

from geneveil.agent.apply import MOST_UNANSWERED, apply_actions
from geneveil.agent.observe import Ports
from geneveil.mesh.actions import Action, DeleteState, Initiate, LoadCrl, UnloadConnection
from geneveil.mesh.memory import Memory
from geneveil.model.connection import ChildName
from geneveil.model.errors import DaemonError, SilentDaemonError

PEERS = tuple(UnloadConnection(f"geneveil-node{number}") for number in range(100))
CLOSED = DeleteState("192.0.2.2", 7, 50)


class Adapters:
    """A charon that fails in one way, and a kernel that does what it is told."""

    def __init__(self, fail: Callable[[int], None]) -> None:
        self.asked = 0
        self.deleted: list[int] = []
        self._fail = fail
        self.ike = self.kernel = self

    def unload_connection(self, _name: str) -> None:
        self.asked += 1
        self._fail(self.asked)

    def load_crl(self, _crl: bytes) -> None:
        raise DaemonError("charon refused load-cert")

    def initiate(self, *_: object) -> str:
        return "1"

    def delete_state(self, _destination: str, spi: int, _protocol: int) -> None:
        self.deleted.append(spi)


def play(adapters: Adapters) -> tuple[tuple[Action, ...], int]:
    outcome = apply_actions((*PEERS, CLOSED), cast(Ports, adapters), Memory(), 0.0)
    return outcome.done, len(outcome.failed)


def test_a_charon_that_stopped_answering_is_not_waited_for_with_every_peer() -> None:
    def silent(_asked: int) -> None:
        raise SilentDaemonError("charon did not answer unload-conn within 2 s")

    adapters = Adapters(silent)
    assert play(adapters) == ((CLOSED,), MOST_UNANSWERED)
    assert adapters.asked == MOST_UNANSWERED
    assert adapters.deleted == [CLOSED.spi]  # of a peer that is closed: the kernel answers


def test_one_question_without_an_answer_and_any_refusal_keep_from_nothing() -> None:
    def slow_once_and_refusing(asked: int) -> None:
        if asked == 1:
            raise SilentDaemonError("charon did not answer unload-conn within 2 s")
        if asked < len(PEERS):
            raise DaemonError("charon refused unload-conn")

    adapters = Adapters(slow_once_and_refusing)
    assert play(adapters) == ((PEERS[-1], CLOSED), len(PEERS) - 1)
    assert adapters.asked == len(PEERS)


def test_without_a_revocation_list_nobody_is_let_in() -> None:
    adapters = Adapters(lambda _asked: None)
    begin = Initiate("geneveil-node2", ChildName(6081, "out"))
    actions = (LoadCrl(b"", "ab"), begin, PEERS[0], CLOSED)
    outcome = apply_actions(actions, cast(Ports, adapters), Memory(), 0.0)
    assert outcome.done == (PEERS[0], CLOSED)
    assert [action for action, _ in outcome.failed] == [actions[0]]
    whole = apply_actions(actions[1:], cast(Ports, adapters), Memory(), 0.0)
    assert whole.done == actions[1:]
