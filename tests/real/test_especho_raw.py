"""Echoes between addresses of the loopback interface: real raw sockets, no namespace needed."""

import pytest

from geneveil.especho.io import RawEspEcho
from geneveil.especho.port import AddressPair
from tests.real.programs import need_root, wait_until

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
        replied: list[AddressPair] = []

        def all_replied() -> bool:
            assert answering.read() == frozenset()
            replied.extend(asking.read())
            return set(replied) == pairs

        # The kernel takes in after it has let the sender go: that may be a while.
        wait_until(all_replied, "the replies")
        assert answering.read() == frozenset()
        assert asking.read() == frozenset()
        assert len(replied) == len(pairs)  # none counts twice
    finally:
        asking.listen(frozenset())
        answering.listen(frozenset())
