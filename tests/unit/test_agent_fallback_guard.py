"""The guard while the configuration file cannot be used, or the tunnels are not known yet."""

from dataclasses import replace
from pathlib import Path

import pytest

from geneveil.agent.boot_guard import plan_fallback_guard
from geneveil.agent.config import plain_state_dir
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
    for text in (None, "mode: Disabled\nmodus: 1\n", "mode: Full\nmodus: 1\n"):
        plan = plan_fallback_guard(text, seal, stored, None)
        assert plan.spec == GuardSpec((6081, 7000))
        assert plan.findings == ()
        assert not plan.must_seal


OFF = ["mode: Disabled", "mode:  'Disabled'", 'mode: "Disabled"   # for now', None]
NOT_OFF = [
    "",
    "mode: Full",
    "mod: Disabled",
    "mode: disabled",
    "mode:",
    "mode: Disabled\nmode: Full",
    "mode: Full\n mode: Disabled",
    "spec:\n  mode: Disabled",
    "# mode: Disabled",
    "mode: [Disabled]",
    "mode: Disabled Full",
    "\ufffd\ufffdmode: Disabled",
]


@pytest.mark.parametrize("line", OFF)
def test_a_node_that_was_never_sealed_and_is_plainly_off_gets_none(line: str | None) -> None:
    stored = encode_stored_settings(ClusterSettings(geneve_ports=(7000,)))
    text = None if line is None else f"kind: AgentConfig\n{line}\ngenevePort: [6081]\n"
    assert plan_fallback_guard(text, Seal.ABSENT, stored, None).spec is None


@pytest.mark.parametrize("line", NOT_OFF)
def test_a_file_that_does_not_say_so_plainly_shuts_the_node(line: str) -> None:
    for text in (line, f"kind: AgentConfig\n{line}\ngenevePort: [6081]\n"):
        assert plan_fallback_guard(text, Seal.ABSENT, None, None).spec == GuardSpec((6081,))


def test_the_seal_is_looked_for_where_the_file_plainly_says() -> None:
    default = Path("/var/lib/geneveil")
    assert plain_state_dir("mode: [\nstateDir: /data/gv  # big disk\n") == Path("/data/gv")
    for text in (
        "",
        "stateDir: data",
        " stateDir: /a",
        "stateDir: /a\nstateDir: /b",
        "stateDir: [/a",
    ):
        assert plain_state_dir(text) == default


@pytest.mark.parametrize(
    ("stored", "error"), [(None, None), (b"{", None), (None, TrustError("no", why="denied"))]
)
def test_without_readable_settings_the_default_port_is_guarded(
    stored: bytes | None, error: TrustError | None
) -> None:
    plan = plan_fallback_guard(None, Seal.SEALED, stored, error)
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
