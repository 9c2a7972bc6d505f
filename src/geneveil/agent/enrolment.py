"""When the node enrols, and how long it waits between attempts. Pure."""

import hashlib
from dataclasses import dataclass

from geneveil.model.errors import GeneveilError, RefusedError, TrustError
from geneveil.model.health import Finding, Severity

RETRY_FIRST_SECONDS = 1.0
RETRY_CAP_SECONDS = 30.0
"""All nodes of a cluster may wait for one operator to come back: never all at once."""

REFUSED_CAP_SECONDS = 120.0
"""Where each refused attempt leaves an object behind."""

JITTER = 0.25


@dataclass(frozen=True)
class Situation:
    """What the decision needs: times are those of the files' last change, None for no file.

    `needs_token`: see `geneveil.agent.plane.port.ControlPlane`.
    """

    has_identity: bool
    certificate_changed_at: float | None
    token_changed_at: float | None
    needs_token: bool = True


def must_enrol(situation: Situation) -> bool:
    """Decide whether to ask the operator for a certificate.

    With no certificate: yes. With one that cannot be used (expired, of another name, not matching)
    only once somebody has put a newer token there, which says that this is wanted. Where no token
    is needed, at once: whether the node may come back is the operator's to say.
    """
    if situation.has_identity:
        return False
    if situation.certificate_changed_at is None or not situation.needs_token:
        return True
    token = situation.token_changed_at
    return token is not None and token > situation.certificate_changed_at


def retry_seconds(chassis: str, attempts: int, cap_seconds: float = RETRY_CAP_SECONDS) -> float:
    """How long to wait after so many attempts (at least one); jitter from the node's name."""
    plain = min(RETRY_FIRST_SECONDS * 2.0 ** min(attempts - 1, 10), cap_seconds)
    seed = f"geneveil enrolment {chassis} {attempts}".encode()
    fraction = int.from_bytes(hashlib.sha256(seed).digest()[:6]) / 2**48
    return plain * (1 + JITTER * (2 * fraction - 1))


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
