"""What one agent tells of its node, as `geneveil.agent.kube.report` does, without its thread.

What the agent would read of its node is played: the guard is in place, nothing is lost, and every
pair is up whose both nodes have a certificate. So in a cluster that comes up there is news of peers
all the time.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from bench.kube_http import NodeHttp
from geneveil.agent.kube.node_ipsec import (
    STATUS_MANAGER,
    read_transitions,
    status_document,
    status_fields,
)
from geneveil.agent.kube.pace import heartbeat_seconds, is_due
from geneveil.agent.kube.report.io import ABSENT_SECONDS
from geneveil.enroll.backoff import backoff_seconds
from geneveil.kube.errors import MissingError
from geneveil.kube.kinds import NODE_IPSECS
from geneveil.kube.request import apply_request, read_request
from geneveil.model.errors import GeneveilError
from geneveil.model.guard import GuardCounter, Tally
from geneveil.model.health import Finding, HealthValue, Severity
from geneveil.model.node_status import CertificateStatus, GuardStatus, NodeStatus

TURN_SECONDS = 5.0
"""Between two turns of an agent's loop to which nothing happens."""


@dataclass(frozen=True)
class Peers:
    """All other nodes.

    Attributes:
        count_up: how many of them have a certificate.
    """

    total: int
    count_up: Callable[[], int]


class PlayedReport:
    """Writes one node's status when that is due."""

    def __init__(self, node: str, chassis: str, http: NodeHttp, peers: Peers) -> None:
        self._node, self._chassis = node, chassis
        self._http, self._peers = http, peers
        self._has_certificate = False
        self._told = asyncio.Event()
        self._written: dict[str, Any] | None = None
        self._written_at = 0.0
        self._transitions: dict[str, tuple[str, str]] | None = None

    def certified(self) -> None:
        """The node has its certificate: the agent's loop takes a turn at once."""
        self._has_certificate = True
        self._told.set()

    async def live(self) -> None:
        """Until it is cancelled."""
        attempts = 0
        while True:
            pause = TURN_SECONDS
            try:
                await self._write_if_due()
                attempts = 0
            except MissingError:
                pause = ABSENT_SECONDS
            except GeneveilError as error:
                attempts += 1
                asked = getattr(error, "retry_after_seconds", 0.0)
                pause = backoff_seconds(f"report {self._node}", attempts, asked)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), pause)
            self._told.clear()

    async def _write_if_due(self) -> None:
        fields = self._fields()
        age_seconds = time.monotonic() - self._written_at
        if not is_due(fields, self._written, age_seconds, heartbeat_seconds(self._node)):
            return
        if self._transitions is None:
            there = await self._http.send(read_request(NODE_IPSECS, self._node))
            self._transitions = read_transitions(there)
        document = status_document(self._node, fields, self._transitions, datetime.now(UTC))
        await self._http.send(apply_request(NODE_IPSECS, document, STATUS_MANAGER, "status"))
        self._transitions = read_transitions(document)
        self._written, self._written_at = fields, time.monotonic()

    def _fields(self) -> dict[str, Any]:
        total = self._peers.total
        up = min(self._peers.count_up(), total) if self._has_certificate else 0
        played = _played_fields(self._has_certificate, up == total)
        return {**played, "chassis": self._chassis, "peersUp": up, "peersTotal": total}


@lru_cache
def _played_fields(has_certificate: bool, is_up: bool) -> dict[str, Any]:
    return status_fields(played_status(has_certificate, is_up))


def played_status(has_certificate: bool, is_up: bool) -> NodeStatus:
    """What an agent would say of its node.

    Args:
        is_up: every pair is.
    """
    now = datetime.now(UTC)
    wrong = [] if has_certificate else [("not-enrolled", "enrolment")]
    wrong += [] if is_up else [("peer-down", "peer")]
    tallies = {GuardCounter.CLEARTEXT_OUT: Tally(), GuardCounter.CLEARTEXT_IN: Tally()}
    certificate = CertificateStatus("played", "0" * 40, "0" * 64, "played", now, now, now)
    return NodeStatus(
        written_at=now,
        version="",
        pid=1,
        chassis="played",
        mode="Full",
        charon="6",
        tunnels=0,
        peers=(),
        certificate=certificate if has_certificate else None,
        guard=GuardStatus(True, (6081,), tallies),
        health=tuple(
            HealthValue(Finding(code, Severity.ERROR, subject, "as it is played"), now)
            for code, subject in wrong
        ),
    )
