"""The one decision of a renewal: sign, answer again, or refuse. Pure.

The old certificate has been judged before (`clients`): whoever asks is that node.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from geneveil.model.cluster import CalendarSpan, KeyType
from geneveil.operator.decide import Issue, IssueAgain, Refuse
from geneveil.operator.records import CertificateRecord
from geneveil.pki.reasons import Finding, Reason
from geneveil.pki.renewal import open_renewal
from geneveil.pki.request import ReadRequest
from geneveil.pki.request_checks import RequestTerms, judge_request

MOST_CLOCK_SKEW = timedelta(hours=1)
MOST_A_DAY = 20
"""Certificates of one chassis. One that asks with a new key each time, and uses none of them, would
fill the disk; a node asks once, and with the same request until it is answered."""


@dataclass(frozen=True)
class RenewalView:
    """All that the decision rests on.

    Attributes:
        client: the certificate that proves the node.
        own: every certificate of the node, in the order of issue.
        request: the CSR, or why it can't be read.
        key_sha256: of the key in the request; empty if there is none.
        key_holder: another chassis that has a certificate for this key, or empty.
        uses: serial of the certificate that the node says it uses; empty if it never said.
        is_rolling_over: the client's authority no longer signs.
    """

    client: CertificateRecord
    own: tuple[CertificateRecord, ...]
    request: ReadRequest | Finding
    key_sha256: bytes
    key_holder: str
    uses: str
    is_rolling_over: bool
    key_type: KeyType
    renew_after: CalendarSpan
    now: datetime


def decide_renewal(view: RenewalView) -> Issue | IssueAgain | Refuse:
    """Decide about one renewal.

    The same request from the same certificate is answered again: the answer was lost on its way.
    A certificate that the node itself has replaced, and said so, renews no more: only somebody
    with an old copy of the node's key would ask.

    Fails closed: yes; whatever can't be read is a finding.
    """
    chassis = view.client.chassis
    if isinstance(view.request, Finding):
        return Refuse(chassis, (view.request,))
    csr_sha256 = hashlib.sha256(view.request.der).digest()
    for earlier in view.own:
        if _answers(earlier, view, csr_sha256):
            return IssueAgain(earlier)
    findings = _judge(view, view.request)
    if findings:
        return Refuse(chassis, findings)
    if view.request.public_key is None:
        unusable = Finding(Reason.CSR_KEY_TYPE, "the key is of a kind that is never certified")
        return Refuse(chassis, (unusable,))
    return Issue("", chassis, view.request.public_key, csr_sha256, view.client.serial)


def is_superseded(own: tuple[CertificateRecord, ...], serial: str, uses: str) -> bool:
    """Whether the node has said that it uses a certificate that was issued after this one.

    Args:
        own: every certificate of the node, in the order of issue.
        uses: what it said last; empty if it never said.
    """
    serials = [record.serial for record in own]
    if uses not in serials or serial not in serials:
        return False
    return serials.index(serial) < serials.index(uses)


def _answers(earlier: CertificateRecord, view: RenewalView, csr_sha256: bytes) -> bool:
    return (
        earlier.predecessor == view.client.serial
        and earlier.csr_sha256 == csr_sha256
        and earlier.revoked_at is None
        and view.now <= earlier.not_after
    )


def _judge(view: RenewalView, request: ReadRequest) -> tuple[Finding, ...]:
    terms = RequestTerms(view.client.chassis, view.key_type, view.key_holder)
    own = (_check_superseded(view), _check_time(view), _check_key(view), _check_rate(view))
    return (
        *(finding for finding in own if finding is not None),
        *judge_request(request.facts, terms),
    )


def _check_superseded(view: RenewalView) -> Finding | None:
    if not is_superseded(view.own, view.client.serial, view.uses):
        return None
    return Finding(
        Reason.CERTIFICATE_SUPERSEDED,
        "the node uses a newer certificate already; renew with that one",
    )


def _check_time(view: RenewalView) -> Finding | None:
    client = view.client
    opens_at = open_renewal(client.not_before, client.not_after, view.renew_after)
    if view.is_rolling_over or view.now >= opens_at:
        return None
    if view.now < client.not_before - MOST_CLOCK_SKEW:
        return None  # made while this clock was wrong: it will not be good for long
    return Finding(
        Reason.RENEWAL_TOO_EARLY,
        f"the certificate can be renewed from {opens_at:%Y-%m-%dT%H:%M:%SZ}",
    )


def _check_key(view: RenewalView) -> Finding | None:
    if view.key_sha256 not in {record.key_sha256 for record in view.own}:
        return None
    return Finding(Reason.CSR_KEY_REUSED, "the node had a certificate for this key; make a new one")


def _check_rate(view: RenewalView) -> Finding | None:
    ages = [view.now - record.issued_at for record in view.own]
    count = sum(timedelta(0) <= age < timedelta(days=1) for age in ages)
    if count < MOST_A_DAY:
        return None
    return Finding(
        Reason.TOO_MANY_CERTIFICATES,
        f"the chassis got {count} certificates within a day; at most {MOST_A_DAY} are given",
    )
