"""Writes what was decided into CertificateSigningRequests, several at a time.

A write that fails is no harm: the request stays unanswered and is decided again, with the same
answer from the ledger.
"""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from geneveil.kube.csr_wire import (
    SigningRequest,
    approved_document,
    certified_document,
    denied_document,
    failed_document,
    time_text,
)
from geneveil.kube.errors import ApiRefusedError, ConflictError, MissingError
from geneveil.kube.kinds import EVENTS, SIGNING_REQUESTS
from geneveil.kube.port import Document, KubePort
from geneveil.model.errors import GeneveilError
from geneveil.operator.kubernetes.signer import Denial, Grant
from geneveil.operator.log_lines import log_line

WRITERS = 8
_APPROVED = "the requester's token is bound to this chassis' Node"
_EVENTS_NAMESPACE = "default"  # where events about objects without a namespace are

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """Which requests are done with for now, and the first error of those that are not.

    Attributes:
        refused: how many answers the API server does not take, and why the first; empty for none.
    """

    uids: frozenset[str]
    error: GeneveilError | None
    refused: str = ""


class AnswerDesk:
    """Holds the threads that write."""

    def __init__(self, port: KubePort) -> None:
        self._port = port
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="answers")

    def close(self) -> None:
        """No more answers."""
        self._writers.shutdown(wait=False, cancel_futures=True)

    def write(self, answers: Iterable[Grant | Denial], now: datetime) -> Written:
        """Write all of them."""
        tasks = [
            (answer.csr, self._writers.submit(partial(self._write, answer, now)))
            for answer in answers
        ]
        done: set[str] = set()
        first, refusals = None, []
        for csr, task in tasks:
            try:
                task.result()
                done.add(csr.uid)
            except (ConflictError, MissingError):
                continue  # it changed or is gone: the watch says how
            except ApiRefusedError as error:
                # one answer that is never taken must not be in the way of all else
                done.add(csr.uid)
                refusals.append((csr.name, error.render()))
            except GeneveilError as error:
                first = first or error
        if not refusals:
            return Written(frozenset(done), first)
        name, why = refusals[0]
        _log.error(log_line("answers-refused", count=len(refusals), request=name, error=why))
        return Written(frozenset(done), first, f"{len(refusals)}, the first for {name}: {why}")

    def _write(self, answer: Grant | Denial, now: datetime) -> None:
        csr = answer.csr
        if isinstance(answer, Denial):
            is_approved = "Approved" in csr.conditions  # by a person, or before it was revoked
            make = failed_document if is_approved else denied_document
            document = make(csr, answer.reason, answer.message, now)
            self._port.replace(SIGNING_REQUESTS, document, "status" if is_approved else "approval")
            _log.warning(log_line("denied", request=csr.name, reason=answer.reason))
            self._tell(answer, now)
            return
        document = csr.document
        if "Approved" not in csr.conditions:
            wanted = approved_document(csr, _APPROVED, now)
            document = self._port.replace(SIGNING_REQUESTS, wanted, "approval")
        wanted = certified_document(document, answer.certificate_pem)
        self._port.replace(SIGNING_REQUESTS, wanted, "status")

    def _tell(self, denial: Denial, now: datetime) -> None:
        try:
            self._port.create(EVENTS, denial_event(denial, now))
        except GeneveilError as error:  # the condition says the same
            _log.warning(log_line("event-failed", error=error.render()))


def denial_event(denial: Denial, now: datetime) -> Document:
    """The Event of a denial, which `kubectl describe csr` shows."""
    csr: SigningRequest = denial.csr
    return {
        "metadata": {"name": f"{csr.name}.{csr.uid}", "namespace": _EVENTS_NAMESPACE},
        "involvedObject": {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "name": csr.name,
            "uid": csr.uid,
        },
        "type": "Warning",
        "reason": "".join(part.capitalize() for part in denial.reason.split("-")),
        "message": denial.message[:1000],
        "action": "Deny",
        "reportingComponent": "geneveil-operator",
        "reportingInstance": "geneveil-operator",
        "source": {"component": "geneveil-operator"},
        "firstTimestamp": time_text(now),
        "lastTimestamp": time_text(now),
        "count": 1,
    }
