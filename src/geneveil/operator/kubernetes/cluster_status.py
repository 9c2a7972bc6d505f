"""ClusterIPsec.status: what the operator says about the whole cluster. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from geneveil.kube.csr_wire import time_text
from geneveil.kube.kinds import CLUSTER_NAME
from geneveil.kube.port import Document
from geneveil.model.cluster import Mode
from geneveil.operator.kubernetes.switch import Problem
from geneveil.operator.trust_state import TrustState
from geneveil.pki.rollover import Phase

STATUS_MANAGER = "geneveil-operator-status"
MOST_WAITED = 20
_MOST_MESSAGE = 4000


@dataclass(frozen=True)
class ClusterFacts:
    """All that the status rests on.

    Attributes:
        state: None if IPsec is off.
        total, certified, up: Nodes; with a valid certificate; that say that they are well, and said
            anything lately.
        waiting: chassis that the roll-over waits for.
        problems: what is wrong.
        failure: why the leader's looks fail, with its remedy; empty if they do not.
    """

    mode: Mode
    sealed_sha256: str
    state: TrustState | None
    total: int
    certified: int
    up: int
    waiting: tuple[str, ...]
    problems: tuple[Problem, ...]
    failure: str = ""


def status_document(facts: ClusterFacts, switch: Document, now: datetime) -> Document:
    """What is to be applied to the subresource `status`.

    Args:
        switch: the ClusterIPsec as it is; times of conditions that did not change are kept.
    """
    metadata = switch["metadata"]
    before = {one["type"]: one for one in (switch.get("status") or {}).get("conditions") or ()}
    generation = metadata.get("generation", 1)
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "sealedSHA256": facts.sealed_sha256,
        "nodes": {"total": facts.total, "certified": facts.certified, "up": facts.up},
        "conditions": [
            _condition(before, generation, now, *condition) for condition in _judge(facts)
        ],
    }
    if facts.state is not None:
        status["trust"] = _trust(facts.state, facts.waiting)
    return {"metadata": {"name": CLUSTER_NAME}, "status": status}


def unusable_document(why: str, switch: Document, now: datetime) -> Document:
    """What is to be applied while the state can't be used: the rest stays as it was told last.

    Args:
        why: in full, with its remedy.
        switch: the ClusterIPsec as it is.
    """
    told = switch.get("status") or {}
    before = {one["type"]: one for one in told.get("conditions") or ()}
    generation = switch["metadata"].get("generation", 1)
    conditions = [one for one in before.values() if one["type"] not in ("Available", "Degraded")]
    for kind, is_so in (("Available", False), ("Degraded", True)):
        one = _condition(before, generation, now, kind, is_so, "StateNotUsable", why)
        conditions.append(one)
    return {"metadata": {"name": CLUSTER_NAME}, "status": {**told, "conditions": conditions}}


def _trust(state: TrustState, waiting: tuple[str, ...]) -> dict[str, Any]:
    trust = state.trust
    found: dict[str, Any] = {
        "generation": trust.generation,
        "phase": trust.phase.value,
        "waitingFor": list(waiting[:MOST_WAITED]),
    }
    if trust.phase_since.timestamp() > 0:
        found["phaseSince"] = time_text(trust.phase_since)
        found["phaseReason"] = trust.phase_reason
    return found


def _judge(facts: ClusterFacts) -> list[tuple[str, bool, str, str]]:
    """type, status, reason, message of each condition."""
    problems = facts.problems
    if facts.failure:
        fails = f"the operator's looks fail, and are tried again: {facts.failure}"
        problems = (Problem("LookFails", fails), *problems)
    if problems:
        message = "; ".join(problem.message for problem in problems)
        degraded = ("Degraded", True, problems[0].reason, message)
    else:
        degraded = ("Degraded", False, "AsExpected", "nothing is wrong")
    if facts.mode is Mode.DISABLED or facts.state is None:
        off = "IPsec is off in this cluster, as it was when the cluster was installed"
        return [
            ("Available", True, "Disabled", off),
            ("Progressing", False, "Disabled", off),
            degraded,
        ]
    available = ("Available", True, "Serving", "certificates are issued, and trust is published")
    if facts.failure:
        available = ("Available", False, "LookFails", problems[0].message)
    trust, missing = facts.state.trust, facts.total - facts.certified
    if trust.phase is not Phase.STEADY:
        progressing = (
            "Progressing",
            True,
            "RollOver",
            f"{trust.phase.value}: {trust.phase_reason}",
        )
    elif missing > 0:
        progressing = ("Progressing", True, "Enrolling", f"{missing} nodes have no certificate yet")
    else:
        progressing = ("Progressing", False, "AsExpected", "every node has its certificate")
    return [available, progressing, degraded]


def _condition(
    before: Mapping[str, Mapping[str, Any]],
    generation: int,
    now: datetime,
    kind: str,
    is_so: bool,
    reason: str,
    message: str,
) -> dict[str, Any]:
    word, was = "True" if is_so else "False", before.get(kind, {})
    since = was.get("lastTransitionTime") if was.get("status") == word else None
    return {
        "type": kind,
        "status": word,
        "observedGeneration": generation,
        "lastTransitionTime": since or time_text(now),
        "reason": reason,
        "message": message[:_MOST_MESSAGE],
    }
