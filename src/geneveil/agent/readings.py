"""What could not be read, and what was read that is no good, as health values. Pure."""

from geneveil.agent.disturbed import judge_disturbances
from geneveil.agent.lost_settings import settings_missing
from geneveil.agent.observe import Observation
from geneveil.model.cluster import ClusterSettings, Mode
from geneveil.model.errors import GeneveilError
from geneveil.model.health import Finding, Severity


def explain_error(error: GeneveilError, code: str, subject: str) -> Finding:
    """An error as a health value."""
    what = f"{error.what}: {error.why}" if error.why else error.what
    return Finding(code, Severity.ERROR, subject, what, error.remedy)


def reading_findings(seen: Observation) -> list[Finding]:
    parts = (
        (seen.ovs, "ovsdb-away", "Open vSwitch"),
        (seen.ike, "charon-away", "charon"),
        (seen.guard, "guard-unreadable", "guard"),
        (
            seen.states if isinstance(seen.states, GeneveilError) else seen.policies,
            "kernel-unreadable",
            "kernel",
        ),
        (seen.settings, "settings-unreadable", "cluster settings"),
        (seen.record, "watch-unreadable", "operator"),
    )
    findings = [
        explain_error(part, code, subject)
        for part, code, subject in parts
        if isinstance(part, GeneveilError)
    ]
    if seen.enrolment is not None:
        findings.append(seen.enrolment)
    disturbances = judge_disturbances(seen.guard_history, seen.now_seconds)
    if not isinstance(seen.guard, GeneveilError) and not disturbances:
        if not seen.guard.present:
            findings.append(_guard_gone("guard-missing", "it was not there"))
        elif seen.guard.ports is None:
            findings.append(_guard_gone("guard-altered", "somebody altered it"))
    return [*findings, *disturbances]


def _guard_gone(code: str, what: str) -> Finding:
    return Finding(
        code,
        Severity.ERROR,
        "guard",
        f"{what}; it is being put back",
        "find out what changes nftables on this node (flush ruleset?)",
    )


def settings_findings(settings: ClusterSettings | None, *, is_missing: bool) -> list[Finding]:
    if is_missing:
        return [settings_missing()]
    if settings is None or settings.mode is Mode.FULL:
        return []
    return [
        Finding(
            "cluster-mode-disabled",
            Severity.ERROR,
            "cluster settings",
            "the cluster's mode is Disabled and this node's is Full; it keeps encrypting",
            "the two must agree: install the node with the cluster's mode",
        )
    ]


def no_chassis() -> Finding:
    return Finding(
        "no-chassis-name",
        Severity.ERROR,
        "Open vSwitch",
        "external_ids:system-id is not set, so this node has no name; every pair stays closed",
        "set it: ovs-vsctl set Open_vSwitch . external_ids:system-id=NAME",
    )
