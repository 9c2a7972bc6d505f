"""The one decision of enrolment: sign, answer again, or refuse.

Order: the token's secret first, alone, because nothing may be learnt without it; then everything
else at once, so that a person sees all that is wrong. A refused request spends no token.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from geneveil.model.cluster import KeyType
from geneveil.operator.records import CertificateRecord, NodeRecord
from geneveil.pki.keys import PublicKey
from geneveil.pki.reasons import Finding, Reason
from geneveil.pki.request import ReadRequest
from geneveil.pki.request_checks import RequestTerms, judge_request
from geneveil.pki.tokens import (
    TokenRecord,
    check_name,
    check_secret,
    check_token_name,
    judge_token,
)


@dataclass(frozen=True)
class EnrolmentView:
    """All that the decision rests on.

    Attributes:
        token: the record with the identifier that was presented, if there is one.
        secret: the secret that was presented.
        request: the CSR, or why it can't be read.
        key_holder: another chassis that has a certificate for this key, or empty.
        earlier: the certificate that the token was spent on, if it was.
        operator_names: names that no chassis may have.
        node: what was said about the token's chassis, if anything.
    """

    token: TokenRecord | None
    secret: bytes
    request: ReadRequest | Finding
    key_holder: str
    earlier: CertificateRecord | None
    operator_names: tuple[str, ...]
    key_type: KeyType
    now: datetime
    node: NodeRecord | None = None


@dataclass(frozen=True)
class Issue:
    """Sign this key for this chassis and spend the token.

    Attributes:
        token: its identifier; empty for a renewal.
        predecessor: serial of the certificate that proved the node; empty after a token.
    """

    token: str
    chassis: str
    public_key: PublicKey
    csr_sha256: bytes
    predecessor: str = ""


@dataclass(frozen=True)
class IssueAgain:
    """Give the same certificate again: the answer was lost on its way."""

    earlier: CertificateRecord


@dataclass(frozen=True)
class Refuse:
    """Say no.

    Attributes:
        chassis: whose token it is, once that was proved; else empty.
        findings: at least one; the first decides the answer.
    """

    chassis: str
    findings: tuple[Finding, ...]


def decide_enrolment(view: EnrolmentView) -> Issue | IssueAgain | Refuse:
    """Decide about one enrolment request.

    A token that was spent on exactly this request, byte for byte, is answered again as long as
    its certificate is worth something: the request proves the same key, so nobody else gains.

    Fails closed: yes; whatever can't be read is a finding.
    """
    unproved = check_secret(view.token, view.secret)
    if unproved is not None or view.token is None:
        return Refuse("", (unproved,) if unproved else ())
    token = view.token
    if isinstance(view.request, Finding):
        return Refuse(token.chassis, (*_judge_token(token, view.now), view.request))
    csr_sha256 = hashlib.sha256(view.request.der).digest()
    if view.earlier is not None and _is_answer_worth_repeating(view, token, csr_sha256):
        return IssueAgain(view.earlier)
    findings = _judge(view, token, view.request)
    if findings:
        return Refuse(token.chassis, findings)
    if view.request.public_key is None:
        unusable = Finding(Reason.CSR_KEY_TYPE, "the key is of a kind that is never certified")
        return Refuse(token.chassis, (unusable,))
    return Issue(token.identifier, token.chassis, view.request.public_key, csr_sha256)


def _is_answer_worth_repeating(view: EnrolmentView, token: TokenRecord, csr_sha256: bytes) -> bool:
    earlier = view.earlier
    return (
        earlier is not None
        and token.csr_sha256 == csr_sha256
        and token.serial == earlier.serial
        and earlier.revoked_at is None
        and view.now <= earlier.not_after
    )


def _judge(view: EnrolmentView, token: TokenRecord, request: ReadRequest) -> tuple[Finding, ...]:
    terms = RequestTerms(token.chassis, view.key_type, view.key_holder)
    about_names = (
        _check_standing(view.node),
        check_token_name(token, request.facts),
        check_name(token.chassis, view.operator_names, ()),
    )
    return (
        *_judge_token(token, view.now),
        *(finding for finding in about_names if finding is not None),
        *judge_request(request.facts, terms),
    )


def _judge_token(token: TokenRecord, now: datetime) -> tuple[Finding, ...]:
    findings = judge_token(token, now)
    if token.voided_at is None:
        return findings
    # the record does not keep which of the three it was; the audit log does
    void = Finding(
        Reason.TOKEN_VOID,
        f"the join token lost its worth at {token.voided_at:%Y-%m-%dT%H:%M:%SZ}: a newer one was "
        "made, another one was spent, or the node was revoked; make a new one",
    )
    return tuple(void if one.reason is Reason.TOKEN_VOID else one for one in findings)


def _check_standing(node: NodeRecord | None) -> Finding | None:
    if node is None or not node.is_shut_out:
        return None
    return Finding(
        Reason.NODE_REVOKED,
        f"chassis {node.chassis} was {node.standing.value} at "
        f"{node.changed_at:%Y-%m-%dT%H:%M:%SZ}; it comes back only with a token made with "
        "--readmit",
    )
