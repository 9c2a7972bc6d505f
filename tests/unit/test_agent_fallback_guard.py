"""The guard while the configuration file cannot be used, or the tunnels are not known yet."""

from dataclasses import replace

import pytest

from geneveil.agent.boot_guard import plan_fallback_guard
from geneveil.agent.decide import AgentMemory, decide
from geneveil.agent.ratchet import Seal
from geneveil.agent.settings import encode_stored_settings
from geneveil.mesh.actions import ApplyGuard
from geneveil.model.cluster import ClusterSettings
from geneveil.model.errors import DaemonError, TrustError
from geneveil.model.guard import GuardSpec, ObservedGuard
from tests.unit.test_agent_decide import SEEN


@pytest.mark.parametrize("seal", [Seal.SEALED, Seal.UNREADABLE])
def test_a_node_that_is_sealed_or_may_be_is_guarded_for_its_stored_ports_too(seal: Seal) -> None:
    stored = encode_stored_settings(ClusterSettings(geneve_ports=(7000,)))
    plan = plan_fallback_guard(seal, stored, None)
    assert plan.spec == GuardSpec((6081, 7000))
    assert plan.findings == ()
    assert not plan.must_seal


def test_a_node_that_was_never_sealed_may_be_one_with_ipsec_off() -> None:
    stored = encode_stored_settings(ClusterSettings(geneve_ports=(7000,)))
    assert plan_fallback_guard(Seal.ABSENT, stored, None).spec is None


@pytest.mark.parametrize(
    ("stored", "error"), [(None, None), (b"{", None), (None, TrustError("no", why="denied"))]
)
def test_without_readable_settings_the_default_port_is_guarded(
    stored: bytes | None, error: TrustError | None
) -> None:
    plan = plan_fallback_guard(Seal.SEALED, stored, error)
    assert plan.spec == GuardSpec((6081,))
    codes = [finding.code for finding in plan.findings]
    assert codes == ([] if stored is None and error is None else ["settings-unreadable"])


def test_before_the_tunnels_are_known_the_agent_leaves_a_wider_guard_alone() -> None:
    wide = ObservedGuard(True, (4789, 6081), {}, (47,))
    away = replace(SEEN, ovs=DaemonError("no answer yet"), guard=wide)
    decision = decide(away, AgentMemory(), ())
    assert decision.guard == GuardSpec((4789, 6081), (47,))
    assert not any(isinstance(action, ApplyGuard) for action in decision.actions)
    known = decide(replace(SEEN, guard=wide), AgentMemory(), ())
    assert ApplyGuard(GuardSpec((6081,))) in known.actions
