"""When a node renews its certificate, and what it says about its trust. Pure.

Everything is decided anew at each turn from the wall clock and the files: a node that slept, was
off or had its clock moved comes to the same decision as one that was there.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeGuard

from geneveil.agent.rotation.watch import WatchRecord
from geneveil.enroll.backoff import backoff_seconds
from geneveil.model.errors import GeneveilError, RefusedError, TrustError
from geneveil.model.health import Finding, Severity
from geneveil.model.node_status import CertificateStatus
from geneveil.model.trust_status import RenewalState

WARN_BEFORE_END = timedelta(days=30)
SILENCE_WORTH_A_WORD = timedelta(hours=1)
"""The watch is answered every minute; a restarted operator is back within seconds."""

NEEDS_TOKEN = frozenset(
    {
        "node-revoked",
        "certificate-revoked",
        "certificate-expired",
        "certificate-superseded",
        "client-certificate-unknown",
    }
)


SHUT_OUT = frozenset({"node-revoked", "certificate-revoked"})
SHUT_OUT_SECONDS = 600.0
"""The operator does not take that back for this certificate, whatever clocks say: it is not asked
every minute for ever."""

WRONG_CLOCK = timedelta(days=1)
"""A certificate that begins later than that was made while the operator's clock was wrong, or this
node's is wrong now; the operator can tell, and makes another in the first case."""


@dataclass(frozen=True)
class Situation:
    """What the state directory holds, beside the certificate that is in use.

    Attributes:
        has_pending: a new certificate waits to be taken into use.
        has_replaced: the one before has not been put away yet.
    """

    has_pending: bool = False
    has_replaced: bool = False


def must_renew(
    certificate: CertificateStatus,
    authority: str,
    record: WatchRecord,
    now: datetime,
    is_shut_out: bool = False,
) -> bool:
    """Decide whether to ask for a new certificate.

    Args:
        authority: SHA-256 of the certificate of the authority that signed ours.
        is_shut_out: it stands on a CRL, or the operator said so.
    """
    if is_shut_out or now >= certificate.not_after:
        return False  # it proves nothing any more: only a new token helps
    if now >= certificate.renew_at or now < certificate.not_before - WRONG_CLOCK:
        return True
    if certificate.serial == record.reissue:
        return True  # whoever made it does not know it any more, and could not revoke it
    is_rolling = record.renew_from not in ("", authority)
    return is_rolling and record.renew_after is not None and now >= record.renew_after


def renewal_state(situation: Situation, wanted: bool) -> RenewalState:
    """One word for people."""
    if situation.has_pending:
        return RenewalState.SWITCHING
    if situation.has_replaced:
        return RenewalState.RETIRING
    return RenewalState.ASKING if wanted else RenewalState.CURRENT


def judge_renewal(
    certificate: CertificateStatus, failure: GeneveilError | None, wanted: bool, now: datetime
) -> list[Finding]:
    """What is wrong about the certificate's time; the nearer its end, the louder.

    Before the last 30 days an attempt that failed is only worth knowing: there are months left.
    """
    if not wanted:
        return []
    left = certificate.not_after - now
    why = f": {_text(failure)}" if failure else ""
    subject = "node certificate"
    if is_refused(failure):
        return [needs_token(failure)]
    if left > WARN_BEFORE_END:
        if failure is None:
            return []
        severity = Severity.INFO
    else:
        severity = Severity.WARNING
    return [
        Finding(
            "renewal-failing" if failure else "renewal-due",
            severity,
            subject,
            f"it ends in {max(left.days, 0)} days, on {certificate.not_after:%Y-%m-%d}, "
            f"and is not renewed yet{why}",
            (failure.remedy if failure else "") or "the agent goes on trying",
        )
    ]


def is_refused(failure: GeneveilError | None) -> TypeGuard[RefusedError]:
    """Whether the operator will not have this node back with the certificate that it has."""
    return isinstance(failure, RefusedError) and failure.reason in NEEDS_TOKEN


def is_shut_out(failure: GeneveilError | None) -> bool:
    """Whether the operator has this node, or its certificate, revoked."""
    return isinstance(failure, RefusedError) and failure.reason in SHUT_OUT


def pause_after(failure: GeneveilError, seed: str, attempts: int) -> float:
    """How long to wait after so many failed attempts; a new certificate ends any wait."""
    asked = getattr(failure, "retry_after_seconds", 0.0)
    if is_shut_out(failure):
        asked = max(asked, SHUT_OUT_SECONDS)
    return backoff_seconds(seed, attempts, asked)


def needs_token(error: RefusedError) -> Finding:
    """The operator will not have this node back with the certificate that it has."""
    words = {
        "node-revoked": "this node was revoked",
        "certificate-revoked": "this node's certificate was revoked",
        "certificate-expired": "this node's certificate has expired",
        "certificate-superseded": "this node's certificate was replaced by another one",
        "client-certificate-unknown": "the operator does not know this node's certificate",
    }
    return Finding(
        error.reason,
        Severity.ERROR,
        "node certificate",
        f"{words[error.reason]}; its peers will not have it back",
        "to let it in again, put a new token into the token file: geneveil operator token NODE"
        # Without it the operator makes no token for a node that was revoked, with it for no other.
        + (" --readmit" if error.reason == "node-revoked" else ""),
    )


def judge_watch(record: WatchRecord, failure: GeneveilError | None, now: datetime) -> list[Finding]:
    """What is wrong about hearing from the operator."""
    if is_refused(failure):
        return [needs_token(failure)]
    if isinstance(failure, TrustError):
        return [
            Finding("watch-refused", Severity.ERROR, "operator", _text(failure), failure.remedy)
        ]
    if failure is None:
        return []
    since = record.heard_at
    if since is not None and timedelta() <= now - since < SILENCE_WORTH_A_WORD:
        return []
    ago = "was never heard" if since is None else f"was heard last {since:%Y-%m-%d %H:%M:%SZ}"
    return [
        Finding(
            "operator-silent",
            Severity.INFO,
            "operator",
            f"it {ago}: {_text(failure)}; revocations do not arrive, what is known stays in force",
            "start the operator; the agent goes on asking",
        )
    ]


def _text(error: GeneveilError) -> str:
    return f"{error.what}: {error.why}" if error.why else error.what
