"""While the tunnels are not known, a guard that is gone or unreadable comes back as it was."""

from dataclasses import replace

import pytest

from geneveil.agent.config import AgentConfig
from geneveil.agent.decide import AgentMemory, decide
from geneveil.guard.wire import ABSENT
from geneveil.mesh.actions import ApplyGuard
from geneveil.model.cluster import Mode
from geneveil.model.errors import DaemonError, GeneveilError
from geneveil.model.guard import GuardSpec, ObservedGuard
from tests.unit.test_agent_decide import GUARD, SEEN

WIDE = GuardSpec((6081, 7000), (47,))
AWAY = replace(SEEN, config=AgentConfig(mode=Mode.FULL), ovs=DaemonError("ovsdb is away"))


@pytest.mark.parametrize("found", [ABSENT, DaemonError("nft did not end within 10 s")])
def test_what_was_guarded_at_the_start_stays_guarded(found: ObservedGuard | GeneveilError) -> None:
    seen = replace(AWAY, guard=found)
    memory = AgentMemory(guard=WIDE)
    for _turn in range(2):
        decision = decide(seen, memory, ())
        assert decision.guard == WIDE
        assert ApplyGuard(WIDE) in decision.actions
        memory = decision.memory


def test_what_was_read_once_is_remembered() -> None:
    wide = replace(GUARD, ports=WIDE.ports, protocols=WIDE.protocols)
    memory = decide(replace(AWAY, guard=wide), AgentMemory(), ()).memory
    assert decide(replace(AWAY, guard=ABSENT), memory, ()).guard == WIDE


def test_once_the_tunnels_are_known_they_decide() -> None:
    assert decide(SEEN, AgentMemory(guard=WIDE), ()).guard == GuardSpec((6081,))
