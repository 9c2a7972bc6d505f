"""Encryption is switched on once, and never off; and what the guard says at boot."""

import pytest

from geneveil.agent.boot_guard import plan_boot_guard
from geneveil.agent.config import AgentConfig
from geneveil.agent.ratchet import Seal, judge_mode
from geneveil.agent.settings import encode_stored_settings, parse_stored_settings
from geneveil.model.cluster import ClusterSettings, Encapsulation, Mode
from geneveil.model.errors import TrustError
from geneveil.model.guard import GuardSpec


@pytest.mark.parametrize(
    ("configured", "seal", "mode", "must_seal", "codes"),
    [
        (Mode.DISABLED, Seal.ABSENT, Mode.DISABLED, False, []),
        (Mode.FULL, Seal.ABSENT, Mode.FULL, True, []),
        (Mode.FULL, Seal.SEALED, Mode.FULL, False, []),
        (Mode.FULL, Seal.UNREADABLE, Mode.FULL, False, []),
        (Mode.DISABLED, Seal.SEALED, Mode.FULL, False, ["mode-refused"]),
        (Mode.DISABLED, Seal.UNREADABLE, Mode.FULL, False, ["mode-refused"]),
    ],
)
def test_the_mode_turns_one_way(
    configured: Mode, seal: Seal, mode: Mode, must_seal: bool, codes: list[str]
) -> None:
    verdict = judge_mode(configured, seal)
    assert (verdict.mode, verdict.must_seal) == (mode, must_seal)
    assert [finding.code for finding in verdict.findings] == codes


def test_a_node_with_ipsec_off_gets_no_guard() -> None:
    assert plan_boot_guard(AgentConfig(), Seal.ABSENT, None, None).spec is None


def test_the_boot_guard_covers_the_ports_of_file_and_cluster() -> None:
    stored = encode_stored_settings(ClusterSettings(geneve_ports=(7000,)))
    plan = plan_boot_guard(AgentConfig(mode=Mode.FULL), Seal.SEALED, stored, None)
    assert plan.spec == GuardSpec((6081, 7000))
    assert plan.findings == ()


@pytest.mark.parametrize(
    ("stored", "error"), [(b"{", None), (b"{}", None), (None, TrustError("no", why="denied"))]
)
def test_damaged_settings_do_not_keep_the_guard_from_standing(
    stored: bytes | None, error: TrustError | None
) -> None:
    plan = plan_boot_guard(AgentConfig(mode=Mode.FULL), Seal.ABSENT, stored, error)
    assert plan.spec == GuardSpec((6081,))
    assert [finding.code for finding in plan.findings] == ["settings-unreadable"]


def test_settings_come_back_as_they_were_stored() -> None:
    settings = ClusterSettings("prod", Mode.FULL, Encapsulation.ALWAYS, (6081, 7000))
    assert parse_stored_settings(encode_stored_settings(settings), "f") == settings
