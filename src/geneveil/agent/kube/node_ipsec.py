"""What an agent writes into its NodeIPsec. Pure.

Two appliers, so that neither takes the other's fields away: one owns `status.trust`, which is the
node's confirmation, the other all the rest, which is for people.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from geneveil.agent.kube.field import field
from geneveil.enroll.port import WatchState
from geneveil.kube.port import Document
from geneveil.model.guard import GuardCounter
from geneveil.model.health import Severity
from geneveil.model.node_status import NodeStatus, PeerState

TRUST_MANAGER = "geneveil-agent-trust"
STATUS_MANAGER = "geneveil-agent"
_LONGEST_MESSAGE = 1000

Condition = tuple[str, str, str, str]
"""type, status, reason, message"""


def confirmation_document(node: str, state: WatchState) -> dict[str, Any]:
    """What the node trusts and uses, as the operator reads it.

    What is empty is left out: where it had entries before, server-side apply would else make null
    of it, which the schema refuses.
    """
    trust: dict[str, Any] = {
        "generation": state.generation,
        "trusts": sorted(set(state.trusts)),
        "crls": dict(state.crls),
        "serial": state.serial,
        "inUse": sorted(set(state.in_use)),
    }
    return _document(node, {"trust": {name: v for name, v in trust.items() if v not in ([], {})}})


def status_fields(status: NodeStatus) -> dict[str, Any]:
    """What the node is like, without times: what differs from before is news."""
    fields: dict[str, Any] = {
        "peersTotal": len(status.peers),
        "peersUp": sum(peer.state is PeerState.UP for peer in status.peers),
        "guard": _guard_word(status),
        **_counters(status),
        "conditions": judge_conditions(status),
    }
    if status.chassis:
        fields["chassis"] = status.chassis
    if status.certificate is not None:
        certificate = status.certificate
        fields["certificate"] = {
            "serial": certificate.serial,
            "notAfter": _time(certificate.not_after),
        }
    return fields


def status_document(
    node: str, fields: Mapping[str, Any], before: Mapping[str, tuple[str, str]], now: datetime
) -> dict[str, Any]:
    """The object to apply.

    Args:
        before: condition type to (status, lastTransitionTime), as they were.
    """
    conditions = [
        {
            "type": kind,
            "status": word,
            "reason": reason,
            "message": message,
            "lastTransitionTime": transition_time(before, kind, word, now),
        }
        for kind, word, reason, message in fields["conditions"]
    ]
    status = {**fields, "conditions": conditions, "heartbeatTime": _time(now)}
    return _document(node, status)


def transition_time(
    before: Mapping[str, tuple[str, str]], kind: str, word: str, now: datetime
) -> str:
    """When a condition came to be as it is."""
    was, since = before.get(kind, ("", ""))
    return since if was == word and since else _time(now)


def read_transitions(node_ipsec: Document) -> dict[str, tuple[str, str]]:
    """Condition type to (status, lastTransitionTime) of an object."""
    return {
        str(field(one, "type")): (
            str(field(one, "status") or ""),
            str(field(one, "lastTransitionTime") or ""),
        )
        for one in field(node_ipsec, "status", "conditions") or ()
    }


def judge_conditions(status: NodeStatus) -> list[Condition]:
    """The conditions, in the standard form; reasons are CamelCase words."""
    errors = [v.finding for v in status.health if v.finding.severity is not Severity.INFO]
    if not status.is_well:
        first = errors[0]
        message = f"{status.summary}: {first.subject}: {first.what}"
        ready = ("Ready", "False", _camel(first.code), message[:_LONGEST_MESSAGE])
    else:
        ready = ("Ready", "True", "AllIsWell", status.summary)
    return [ready, _certificate_condition(status), _guard_condition(status)]


def _certificate_condition(status: NodeStatus) -> Condition:
    kind = "CertificateValid"
    if status.certificate is None:
        return (kind, "False", "NoCertificate", "the node has no certificate that it can use")
    end = f"until {_time(status.certificate.not_after)}"
    for value in status.health:
        finding = value.finding
        if finding.subject == "node certificate" and finding.severity is Severity.ERROR:
            return (kind, "False", _camel(finding.code), finding.what[:_LONGEST_MESSAGE])
    return (kind, "True", "Valid", end)


def _guard_condition(status: NodeStatus) -> Condition:
    word = _guard_word(status)
    kind = "GuardInPlace"
    if word == "InPlace":
        return (kind, "True", "InPlace", "Geneve in clear is dropped")
    if word == "Unknown":
        return (kind, "Unknown", "Unreadable", "the rules in the kernel cannot be read")
    return (kind, "False", word, "it is being put back")


def _guard_word(status: NodeStatus) -> str:
    if status.guard is None:
        return "Unknown"
    if status.guard.in_place:
        return "InPlace"
    codes = {value.finding.code for value in status.health}
    return "Missing" if "guard-missing" in codes else "Altered"


def _counters(status: NodeStatus) -> dict[str, int]:
    if status.guard is None:
        return {}
    counters = status.guard.counters
    return {
        name: counters[counter].packets
        for name, counter in (
            ("cleartextOut", GuardCounter.CLEARTEXT_OUT),
            ("cleartextIn", GuardCounter.CLEARTEXT_IN),
        )
        if counter in counters
    }


def _camel(code: str) -> str:
    return "".join(part.capitalize() for part in code.split("-"))


def _document(node: str, status: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": node},
        "status": dict(status),
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
