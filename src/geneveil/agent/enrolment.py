"""When the node enrols, and how long it waits between attempts. Pure."""

import hashlib
from dataclasses import dataclass

from geneveil.model.errors import (
    GeneveilError,
    OperatorUnreachableError,
    RefusedError,
    TrustError,
)
from geneveil.model.health import Finding, Severity

RETRY_FIRST_SECONDS = 1.0
RETRY_CAP_SECONDS = 30.0
"""All nodes of a cluster may wait for one operator to come back: never all at once."""

REFUSED_CAP_SECONDS = 120.0
"""Where each refused attempt leaves an object behind."""

USED_UP = frozenset({"token-used", "token-void"})
USED_UP_SECONDS = 600.0
"""A token that was used with another request, or taken back, stays so: only another one helps."""

JITTER = 0.25


@dataclass(frozen=True)
class Situation:
    """What the decision needs.

    Attributes:
        has_identity: it has a certificate that it can use.
        has_certificate: it has one, whether or not it can.
        token: what tells the join token that is there from others; None for none.
        spent: the same of the one that the certificate was got with; None if that is not known.
        needs_token: see `geneveil.agent.plane.port.ControlPlane`.
        is_refused: the operator will not have the certificate, however usable it looks here.
    """

    has_identity: bool
    has_certificate: bool
    token: str | None
    spent: str | None = None
    needs_token: bool = True
    is_refused: bool = False


def must_enrol(situation: Situation) -> bool:
    """Decide whether to ask the operator for a certificate.

    With no certificate: yes. With one that cannot be used (expired, of another name, not matching),
    or that the operator will not have, only once somebody has put another token there, which says
    that this is wanted: another by its content, whatever clocks said when it was written. Where no
    token is needed, at once: whether the node may come back is the operator's to say.
    """
    if situation.has_identity and not (situation.is_refused and situation.needs_token):
        return False
    if not situation.has_certificate or not situation.needs_token:
        return True
    return situation.token not in (None, situation.spent)


def digest_token(text: str) -> str:
    """What tells a join token from others, and does not give it away."""
    return hashlib.sha256(f"geneveil join token {text.strip()}".encode()).hexdigest()


def retry_seconds(chassis: str, attempts: int, cap_seconds: float = RETRY_CAP_SECONDS) -> float:
    """How long to wait after so many attempts (at least one); jitter from the node's name."""
    plain = min(RETRY_FIRST_SECONDS * 2.0 ** min(attempts - 1, 10), cap_seconds)
    seed = f"geneveil enrolment {chassis} {attempts}".encode()
    fraction = int.from_bytes(hashlib.sha256(seed).digest()[:6]) / 2**48
    return plain * (1 + JITTER * (2 * fraction - 1))


def pause_after(
    error: GeneveilError, chassis: str, attempts: int, needs_token: bool = True
) -> float:
    """How long to wait after so many failed attempts; another token ends any wait."""
    asked = error.retry_after_seconds if isinstance(error, OperatorUnreachableError) else 0.0
    cap = RETRY_CAP_SECONDS
    if isinstance(error, RefusedError) and error.reason in USED_UP:
        return USED_UP_SECONDS
    if isinstance(error, RefusedError) and not needs_token:
        cap = REFUSED_CAP_SECONDS
    return max(asked, retry_seconds(chassis, attempts, cap))


def needs_other_key(error: RefusedError) -> bool:
    """Whether the operator refused the key itself: with another one it may agree."""
    return error.reason.startswith("csr-key-")


def _remedy(reason: str) -> str:
    if reason.startswith("csr-key-"):
        return "nothing: the agent makes another key by itself and asks again"
    return "make a new token for this node: geneveil operator token NODE"


def explain_failure(error: GeneveilError) -> Finding:
    """The health value of an attempt that failed."""
    what = f"{error.what}: {error.why}" if error.why else error.what
    if isinstance(error, RefusedError):
        code, remedy = (
            f"enrolment-refused-{error.reason}",
            error.remedy or _remedy(error.reason),
        )
    elif isinstance(error, TrustError):
        code, remedy = "enrolment-not-trusted", error.remedy
    elif error.retryable:
        code, remedy = "operator-unreachable", error.remedy or "the agent goes on trying"
    else:
        code, remedy = "enrolment-failed", error.remedy
    return Finding(code, Severity.ERROR, "enrolment", what, remedy)
