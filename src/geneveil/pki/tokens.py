"""Join tokens as the operator keeps them, and the checks on one that is presented.

A token is an identifier, by which the record is found, and a secret of 32 random bytes, of which
only the SHA-256 is kept: whoever reads the operator's disk can't enrol. The secret has 256 bits of
its own, so a slow hash would add nothing.

A token that isn't known and one whose secret is wrong get the same word, and nothing about the
record is said before the secret is proved.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from geneveil.model.names import OPERATOR_IDENTITY, is_chassis_name, name_key
from geneveil.pki.reasons import Finding, Reason, shown
from geneveil.pki.request import RequestFacts

SECRET_BYTES = 32
IDENTIFIER_BYTES = 8


@dataclass(frozen=True)
class TokenRecord:
    """What the operator remembers of a token.

    Attributes:
        identifier: 16 hexadecimal digits; public.
        secret_sha256: the hash of the secret.
        chassis: the one name that it is for.
        expires_at: from then on it is worth nothing.
        csr_sha256: the request that it was spent on; empty while it is unused.
        serial: the certificate that it was spent on; empty while it is unused.
        authority_id: the authority that it pins.
        voided_at: when it lost its worth because the node was revoked; None if it did not.
    """

    identifier: str
    secret_sha256: bytes
    chassis: str
    created_at: datetime
    expires_at: datetime
    csr_sha256: bytes = b""
    serial: str = ""
    authority_id: int = 1
    voided_at: datetime | None = None


def hash_secret(secret: bytes) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret).digest()


def check_secret(record: TokenRecord | None, secret: bytes) -> Finding | None:
    """Is this the token's secret? Takes the same time whether or not there is such a token."""
    known = record.secret_sha256 if record else bytes(32)
    if hmac.compare_digest(known, hash_secret(secret)) and record is not None:
        return None
    return Finding(Reason.TOKEN_UNKNOWN, "the join token is not one of this cluster's")


def check_unused(record: TokenRecord, now: datetime) -> Finding | None:
    """Was it never spent?"""
    if not record.serial:
        return None
    return Finding(
        Reason.TOKEN_USED, "the join token was used before, with another request; make a new one"
    )


def check_unexpired(record: TokenRecord, now: datetime) -> Finding | None:
    """Is it still worth something?"""
    if now < record.expires_at:
        return None
    return Finding(
        Reason.TOKEN_EXPIRED,
        f"the join token expired at {record.expires_at:%Y-%m-%dT%H:%M:%SZ}; make a new one",
    )


def check_not_void(record: TokenRecord, now: datetime) -> Finding | None:
    """Was the node not revoked since it was made?"""
    if record.voided_at is None:
        return None
    return Finding(
        Reason.TOKEN_VOID,
        f"the join token lost its worth when the node was revoked at "
        f"{record.voided_at:%Y-%m-%dT%H:%M:%SZ}",
    )


TOKEN_CHECKS: tuple[Callable[[TokenRecord, datetime], Finding | None], ...] = (
    check_not_void,
    check_unused,
    check_unexpired,
)


def judge_token(record: TokenRecord, now: datetime) -> tuple[Finding, ...]:
    """Ask every question about a token whose secret was proved."""
    answers = (check(record, now) for check in TOKEN_CHECKS)
    return tuple(answer for answer in answers if answer is not None)


def check_token_name(record: TokenRecord, facts: RequestFacts) -> Finding | None:
    """Is it for the node that asks?

    Only a request that is wholly another node's gets this word; one that mixes names is judged by
    the checks on requests.
    """
    asked = {*facts.common_names, *(value for _, value in facts.alternative_names)}
    if len(asked) != 1 or asked == {record.chassis}:
        return None
    return Finding(
        Reason.TOKEN_OTHER_NODE,
        f"the join token is for chassis {shown(record.chassis)}, not for {shown(asked.pop())}",
    )


def check_name(
    chassis: str, operator_names: tuple[str, ...], known: tuple[str, ...]
) -> Finding | None:
    """May a chassis have this name?

    Args:
        operator_names: the names that the operator's own certificate bears.
        known: every chassis that has a token or a certificate.
    """
    if not is_chassis_name(chassis):
        return Finding(
            Reason.NAME_INVALID,
            f"{shown(chassis)} is no chassis name: 1 to 63 letters, digits, dots, hyphens and "
            "underscores, beginning and ending with a letter or digit",
        )
    reserved = {name_key(name) for name in (OPERATOR_IDENTITY, *operator_names)}
    if name_key(chassis) in reserved:
        return Finding(
            Reason.NAME_RESERVED,
            f"{chassis} is a name of the operator itself; a node of that name could pose as it",
        )
    for other in known:
        if other != chassis and name_key(other) == name_key(chassis):
            return Finding(
                Reason.NAME_AMBIGUOUS,
                f"{chassis} differs from the known chassis {other} in letter case only; "
                "to an IKE daemon they are the same",
            )
    return None
