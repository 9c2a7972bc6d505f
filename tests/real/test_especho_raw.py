"""Echoes between addresses of the loopback interface: real raw sockets, no namespace needed."""

import pytest

from geneveil.especho.io import RawEspEcho
from tests.real.programs import need_root

pytestmark = pytest.mark.real


def test_each_address_of_a_node_gets_the_answers_to_its_own_questions() -> None:
    need_root()
    asking, answering = RawEspEcho(), RawEspEcho()
    pairs = frozenset({("127.0.0.1", "127.0.0.3"), ("127.0.0.2", "127.0.0.3")})
    gone = ("192.0.2.77", "127.0.0.1")
    asking.listen(pairs)
    answering.listen(frozenset((remote, local) for local, remote in pairs) | {gone})
    try:
        for pair in pairs:
            asking.ask(pair)
        assert answering.read() == frozenset()
        assert asking.read() == pairs
        assert asking.read() == frozenset()  # none counts twice
    finally:
        asking.listen(frozenset())
        answering.listen(frozenset())
