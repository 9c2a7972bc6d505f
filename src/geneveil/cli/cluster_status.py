"""What a Kubernetes cluster's objects say about its IPsec, as one document. Pure."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from geneveil.operator.kubernetes.election import LeaseRecord

SILENT_AFTER = timedelta(minutes=15)
"""Three heartbeats of an agent: what such an object says may not be true any more."""

Document = Mapping[str, Any]


def cluster_document(
    cluster: Document | None, nodes: Iterable[Document], now: datetime, operator: str = ""
) -> dict[str, Any]:
    """The cluster and a line a node, worst first.

    Args:
        cluster: the ClusterIPsec; None if there is none.
        nodes: every NodeIPsec.
        operator: what is wrong with it; empty if nothing is, or if it can't be known.
    """
    mode = str(_of(cluster, "spec", "mode") or "Disabled") if cluster else "absent"
    lines = sorted(
        (_node(node, now) for node in nodes), key=lambda line: (line["well"], line["node"])
    )
    conditions, trust = _conditions(cluster), dict(_of(cluster, "status", "trust") or {})
    by_kind = {one["type"]: one["status"] for one in conditions}
    # the switch may be gone or another one, and IPsec is on as it was sealed
    is_on = mode == "Full" or bool(trust) or any(line["heartbeat"] for line in lines)
    well = by_kind.get("Degraded") != "True"
    if is_on:
        is_available = mode == "Full" and by_kind.get("Available") == "True"
        well = well and is_available and not operator and all(line["well"] for line in lines)
    return {
        "mode": mode,
        "well": well,
        "summary": _summary(mode, is_on, well, lines),
        "operator": operator if is_on else "",
        "conditions": conditions,
        "trust": trust,
        "nodes": lines,
    }


def explain_lead(before: LeaseRecord | None, after: LeaseRecord | None) -> str:
    """Why no operator leads; empty if one does.

    Args:
        before, after: the Lease, looked at twice, longer apart than a leader renews it. Clocks of
            machines differ, so the times in it say nothing by themselves.
    """
    if after is None:
        return "no operator leads: there is no Lease of one"
    if not after.holder or after == before:
        return f"no operator leads: its Lease was renewed last at {after.renewed or 'no time'}"
    return ""


def _summary(mode: str, is_on: bool, well: bool, lines: list[dict[str, Any]]) -> str:
    ready = sum(bool(line["well"]) for line in lines)
    if is_on:
        word = "all is well" if well else "attention"
        if mode != "Full":
            says = "is gone" if mode == "absent" else f"says mode: {mode}"
            word = f"attention: the ClusterIPsec {says}, and IPsec is on, as it was sealed"
        return f"{word}: {ready} of {len(lines)} nodes are well"
    if mode == "absent":
        return "there is no ClusterIPsec: IPsec is off"
    return "IPsec is off (mode: Disabled); nothing is encrypted or guarded"


def _node(document: Document, now: datetime) -> dict[str, Any]:
    status = document.get("status") or {}
    conditions = {one["type"]: one for one in _conditions(document)}
    heartbeat = status.get("heartbeatTime")
    complaint = _complaint(conditions, heartbeat, now)
    return {
        "node": str(_of(document, "metadata", "name")),
        "chassis": status.get("chassis"),
        "certificateEnd": _of(status, "certificate", "notAfter"),
        "peersUp": status.get("peersUp"),
        "peersTotal": status.get("peersTotal"),
        "guard": status.get("guard", "Unknown"),
        "cleartextOut": status.get("cleartextOut"),
        "cleartextIn": status.get("cleartextIn"),
        "heartbeat": heartbeat,
        "well": not complaint,
        "complaint": complaint,
    }


def _complaint(conditions: Mapping[str, Any], heartbeat: object, now: datetime) -> str:
    """The worst thing about a node, for people; empty if there is none."""
    if not isinstance(heartbeat, str):
        return "its agent has not said anything yet"
    try:
        said = datetime.fromisoformat(heartbeat)
    except ValueError:
        return f"its heartbeat {heartbeat!r} is no time"  # RFC 3339 has a second 60
    said = said if said.tzinfo else said.replace(tzinfo=UTC)
    if now - said > SILENT_AFTER:
        return f"its agent is silent since {said:%Y-%m-%d %H:%M:%SZ}"
    for kind in ("GuardInPlace", "CertificateValid", "Ready"):
        one = conditions.get(kind)
        if one is None or one["status"] != "True":
            return f"{kind}: {one['message']}" if one else f"{kind} is not known"
    return ""


def _conditions(document: Document | None) -> list[dict[str, str]]:
    found = _of(document, "status", "conditions") or ()
    names = ("type", "status", "reason", "message", "lastTransitionTime")
    return [{name: str(one.get(name, "")) for name in names} for one in found]


def _of(document: Any, *path: str) -> Any:
    for name in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(name)
    return document
