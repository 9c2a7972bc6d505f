"""What the guard must say at boot, before anything else runs. Pure."""

from dataclasses import dataclass

from geneveil.agent.config import AgentConfig, guarded_ports, is_plainly_off
from geneveil.agent.ratchet import Seal, judge_mode
from geneveil.agent.settings import parse_stored_settings
from geneveil.model.cluster import Mode
from geneveil.model.errors import GeneveilError
from geneveil.model.guard import GuardSpec
from geneveil.model.health import Finding, Severity


@dataclass(frozen=True)
class BootGuard:
    """The guard to set, or None with mode Disabled; whether the mode has to be sealed as well."""

    spec: GuardSpec | None
    must_seal: bool
    findings: tuple[Finding, ...]


def plan_boot_guard(
    config: AgentConfig, seal: Seal, settings: bytes | None, unreadable: GeneveilError | None
) -> BootGuard:
    """Decide the guard from what is on the disk.

    Args:
        settings: the stored settings of the cluster, if there are any.
        unreadable: why they could not be read, if they could not.
    Fails closed: yes; damaged settings are named, and the configured ports are guarded.
    """
    verdict = judge_mode(config.mode, seal)
    if verdict.mode is Mode.DISABLED:
        return BootGuard(None, must_seal=False, findings=())
    spec, findings = _judge_ports(config, settings, unreadable)
    return BootGuard(spec, verdict.must_seal, (*verdict.findings, *findings))


def plan_fallback_guard(
    text: str | None, seal: Seal, settings: bytes | None, unreadable: GeneveilError | None
) -> BootGuard:
    """Decide the guard while the configuration file cannot be used.

    Args:
        text: what is in the file, as far as it can be read; None: there is no file.
        settings, unreadable: as above.
    Fails closed: yes; a node that is sealed, or may be, gets the guard for its stored settings'
        ports and the default one, and so does one whose file does not say plainly that it is not
        to encrypt. Where there is no file, nobody ever told this node to.
    """
    is_off = text is None or is_plainly_off(text)
    if seal is Seal.ABSENT and is_off:
        return BootGuard(None, must_seal=False, findings=())
    spec, findings = _judge_ports(AgentConfig(), settings, unreadable)
    return BootGuard(spec, must_seal=False, findings=findings)


def _judge_ports(
    config: AgentConfig, settings: bytes | None, unreadable: GeneveilError | None
) -> tuple[GuardSpec, tuple[Finding, ...]]:
    findings: list[Finding] = []
    known = None
    try:
        if unreadable is not None:
            raise unreadable
        known = parse_stored_settings(settings, "settings.json") if settings is not None else None
    except GeneveilError as error:
        findings.append(
            Finding(
                code="settings-unreadable",
                severity=Severity.WARNING,
                subject="cluster settings",
                what=f"{error.what}: {error.why}; the ports of the configuration file are guarded",
                remedy=error.remedy,
            )
        )
    return GuardSpec(guarded_ports(config, known)), tuple(findings)
