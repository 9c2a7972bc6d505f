"""The one decision about a CertificateSigningRequest: sign, answer again, refuse, or wait. Pure.

Who asks is what the API server authenticated: a token of the agents' service account that is bound
to a Pod, and so to a Node (`authentication.kubernetes.io/node-name`). What may be asked is that
Node's chassis, by the very checks that a join token's request passes.

Order: the requester first, alone, because the rest would tell strangers about nodes; then all
that is wrong at once. A renewal is another request with a new key: a node whose disk was replaced
has nothing to prove its old certificate with, and its token proves the same. What a stolen token
can do is bounded: `MOST_A_DAY` certificates a day, `MOST_VALID` at any time, of one chassis.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from geneveil.kube.csr_wire import MOST_REQUEST_BYTES, SigningRequest
from geneveil.model.cluster import KeyType
from geneveil.operator.decide import Issue, IssueAgain, Refuse
from geneveil.operator.kubernetes.capacity import MOST_OF_ONE, REMEDY
from geneveil.operator.kubernetes.claims import NodeFacts
from geneveil.operator.kubernetes.ledger import Binding
from geneveil.operator.kubernetes.waiting import MOST_WAITING
from geneveil.operator.records import CertificateRecord, NodeRecord, Standing
from geneveil.pki.reasons import Finding, Reason, shown
from geneveil.pki.request import ReadRequest
from geneveil.pki.request_checks import RequestTerms, judge_request
from geneveil.pki.tokens import check_name

USAGES = ("ipsec tunnel",)
AGENT_ACCOUNT = "geneveil-agent"
MOST_AGE = timedelta(hours=1)
"""An older request was made by a Pod that may be gone; the agent asks again."""

MOST_BEHIND = timedelta(minutes=2)
"""Nodes and requests are followed one by one, and a watch that broke off comes back some time after
another: a new Node may be heard of so long after the first request from it."""

MOST_A_DAY = 5
MOST_VALID = 50
_NAME_DIGITS = 10
_TOO_LARGE = Finding(
    Reason.CSR_TOO_LARGE,
    f"the request, or its metadata, is larger than {MOST_REQUEST_BYTES} bytes; it was not read",
)


@dataclass(frozen=True)
class SigningView:
    """All that the decision rests on.

    Attributes:
        node: the Node that the requester's token names; None if there is no such Node.
        claimants: further Nodes that claim the same chassis.
        binding: the Node that the chassis was when it got its last certificate.
        is_bound_here: that Node is there, so that the chassis is its.
        request: the CSR inside, or why it can't be read.
        own: every certificate of the chassis, in the order of issue.
        key_sha256: of the key in the request; empty if there is none.
        key_holder: another chassis that has a certificate for this key, or empty.
        standing: what was said about the chassis, if anything.
        reserved_names: names that no chassis may have.
        now: our own time, for certificates.
        server_now: the API server's, whose clock stamped the request, for the request's age.
        elsewhere: certificates that the same Node got as other chassis.
        revoked_as: another chassis that the same Node was, which a person revoked; or empty.
        earlier: how many requests of the same node were made before this one and are undecided.
        kept: how many of `own` are remembered further: those of authorities that are trusted.
    """

    csr: SigningRequest
    namespace: str
    node: NodeFacts | None
    claimants: tuple[str, ...]
    binding: Binding | None
    is_bound_here: bool
    request: ReadRequest | Finding
    own: tuple[CertificateRecord, ...]
    key_sha256: bytes
    key_holder: str
    standing: NodeRecord | None
    reserved_names: tuple[str, ...]
    key_type: KeyType
    now: datetime
    server_now: datetime
    elsewhere: tuple[CertificateRecord, ...] = ()
    revoked_as: str = ""
    earlier: int = 0
    kept: int = 0


@dataclass(frozen=True)
class Wait:
    """It can't be decided yet; `why` is for the log."""

    why: str


def decide_signing(view: SigningView) -> Issue | IssueAgain | Refuse | Wait:
    """Decide about one request.

    A request that was answered before, byte for byte and by the newest certificate of the chassis,
    is answered again: the operator was killed between the ledger and the answer.

    Fails closed: yes; what can't be read is a finding, what is not known yet waits.
    """
    stranger = _check_requester(view)
    if stranger is not None and not _may_be_behind(view, stranger):
        return Refuse("", (stranger,))
    if view.csr.is_too_large:
        return Refuse("", (_TOO_LARGE,))
    if stranger is not None or view.node is None:
        why = stranger.message if stranger is not None else "its Node is not known"
        return decide_waiting(view, f"{why}, as far as is known yet")
    chassis = view.node.chassis
    if not chassis:
        if _is_too_old(view):
            return Refuse("", (_too_old(view),))
        return decide_waiting(view, f"nobody said yet which chassis Node {view.node.name} is")
    if isinstance(view.request, Finding):
        return Refuse(chassis, (view.request,))
    csr_sha256 = hashlib.sha256(view.request.der).digest()
    newest = view.own[-1] if view.own else None
    if newest is not None and _answers(newest, view, csr_sha256):
        return IssueAgain(newest)
    findings = _judge(view, view.request, chassis, csr_sha256)
    if findings:
        return Refuse(chassis, findings)
    if view.request.public_key is None:
        unusable = Finding(Reason.CSR_KEY_TYPE, "the key is of a kind that is never certified")
        return Refuse(chassis, (unusable,))
    predecessor = newest.serial if newest is not None else ""
    return Issue("", chassis, view.request.public_key, csr_sha256, predecessor)


def _may_be_behind(view: SigningView, stranger: Finding) -> bool:
    return (
        stranger.reason in (Reason.NODE_UNKNOWN, Reason.NODE_REPLACED)
        and view.server_now - view.csr.created_at <= MOST_BEHIND
    )


def decide_waiting(view: SigningView, why: str) -> Refuse | Wait:
    """What becomes of a request that can't be decided now: so many of one node wait, no more."""
    if view.earlier < MOST_WAITING:
        return Wait(why)
    node = shown(view.csr.node_names[0])
    finding = Finding(
        Reason.TOO_MANY_WAITING,
        f"{view.earlier} earlier requests of Node {node} are not decided yet, and at most "
        f"{MOST_WAITING} may wait: {why}",
    )
    return Refuse("", (finding,))


def _check_requester(view: SigningView) -> Finding | None:
    csr = view.csr
    agent = f"system:serviceaccount:{view.namespace}:{AGENT_ACCOUNT}"
    if csr.username != agent:
        return Finding(
            Reason.REQUESTER_NOT_AGENT,
            f"{shown(csr.username)} asked; only {agent} may, with the token of its Pod",
        )
    if len(csr.node_names) != 1 or len(csr.node_uids) != 1:
        return Finding(
            Reason.REQUESTER_NOT_BOUND,
            "the requester's token is not bound to a Pod on a Node; mount it as a projected "
            "serviceAccountToken volume",
        )
    if view.node is None:
        return Finding(
            Reason.NODE_UNKNOWN, f"there is no Node {shown(csr.node_names[0])} in this cluster"
        )
    if view.node.uid != csr.node_uids[0]:
        return Finding(
            Reason.NODE_REPLACED,
            f"the token is of an earlier Node of the name {shown(view.node.name)}",
        )
    return None


def _answers(earlier: CertificateRecord, view: SigningView, csr_sha256: bytes) -> bool:
    return (
        earlier.csr_sha256 == csr_sha256
        and earlier.revoked_at is None
        and view.now <= earlier.not_after
        and not _check_standing(view)
        and view.csr.name == _expected_name(view, csr_sha256)
        and view.node is not None
        and view.binding is not None
        and view.binding.node == view.node.name
    )


def _judge(
    view: SigningView, request: ReadRequest, chassis: str, csr_sha256: bytes
) -> tuple[Finding, ...]:
    terms = RequestTerms(chassis, view.key_type, view.key_holder)
    own = (
        _check_standing(view),
        check_name(chassis, view.reserved_names, ()),
        _check_claims(view, chassis),
        _check_object(view, csr_sha256),
        _check_usages(view),
        _check_duration(view),
        _too_old(view) if _is_too_old(view) else None,
        _check_key(view),
        _check_rate(view),
    )
    found = (finding for finding in own if finding is not None)
    return (*found, *judge_request(request.facts, terms))


def _check_standing(view: SigningView) -> Finding | None:
    standing = view.standing
    if view.revoked_as:
        return Finding(
            Reason.NODE_REVOKED,
            f"the Node was revoked as chassis {view.revoked_as}, and is not let in under another "
            "name; to let it back: geneveil operator readmit NODE --kubernetes",
        )
    if standing is None or not standing.is_shut_out:
        return None
    if standing.standing is Standing.REMOVED:
        return None  # its Node was deleted, and is here again: the cluster let it in
    return Finding(
        Reason.NODE_REVOKED,
        f"chassis {standing.chassis} was revoked at {standing.changed_at:%Y-%m-%dT%H:%M:%SZ}; "
        "to let it back: geneveil operator readmit NODE --kubernetes",
    )


def _check_claims(view: SigningView, chassis: str) -> Finding | None:
    node = view.node.name if view.node else ""
    others = view.claimants
    if view.binding is not None and view.is_bound_here:
        if view.binding.node == node:
            return None  # the others are refused: this one had it first
        others = tuple(sorted({*others, view.binding.node}))
    if not others:
        return None
    names = ", ".join(shown(name) for name in others[:4])
    return Finding(
        Reason.CHASSIS_CLAIMED_TWICE,
        f"chassis {shown(chassis)} is also Node {names}; give each node a system-id of its own",
    )


def _expected_name(view: SigningView, csr_sha256: bytes) -> str:
    node = view.node.name if view.node else ""
    return f"geneveil-{node}-{csr_sha256.hex()[:_NAME_DIGITS]}"


def _check_object(view: SigningView, csr_sha256: bytes) -> Finding | None:
    wanted = _expected_name(view, csr_sha256)
    if view.csr.name == wanted:
        return None
    return Finding(
        Reason.CSR_NAME,
        f"a request with these bytes is named {shown(wanted)}: the same bytes are one request, "
        "however often they are sent",
    )


def _check_usages(view: SigningView) -> Finding | None:
    if view.csr.usages == USAGES:
        return None
    asked = ", ".join(shown(usage) for usage in view.csr.usages[:8]) or "none"
    return Finding(Reason.CSR_USAGES, f"the usages are {asked}; exactly 'ipsec tunnel' is accepted")


def _check_duration(view: SigningView) -> Finding | None:
    if view.csr.expiration_seconds is None:
        return None
    return Finding(
        Reason.CSR_DURATION, "expirationSeconds is set; lifetimes are the cluster's to choose"
    )


def _is_too_old(view: SigningView) -> bool:
    """By the one clock that both stamps are of."""
    return view.server_now - view.csr.created_at > MOST_AGE


def _too_old(view: SigningView) -> Finding:
    made = f"{view.csr.created_at:%Y-%m-%dT%H:%M:%SZ}"
    return Finding(
        Reason.CSR_TOO_OLD, f"the request was made at {made}, too long ago; ask with a new one"
    )


def _check_key(view: SigningView) -> Finding | None:
    if not view.key_sha256 or view.key_sha256 not in {one.key_sha256 for one in view.own}:
        return None
    return Finding(Reason.CSR_KEY_REUSED, "the node had a certificate for this key; make a new one")


def _check_rate(view: SigningView) -> Finding | None:
    own = (*view.own, *view.elsewhere)  # another name each time is no way around it
    day = [one for one in own if view.now - one.issued_at < timedelta(days=1)]
    valid = [one for one in own if one.revoked_at is None and view.now <= one.not_after]
    if view.kept >= MOST_OF_ONE:
        return Finding(
            Reason.TOO_MANY_CERTIFICATES,
            f"the chassis has {view.kept} certificates, most of them revoked, and no more are "
            f"remembered; they are forgotten with their authority: {REMEDY}",
        )
    if len(day) < MOST_A_DAY and len(valid) < MOST_VALID:
        return None
    return Finding(
        Reason.TOO_MANY_CERTIFICATES,
        f"the chassis got {len(day)} certificates within a day and has {len(valid)} that are "
        f"valid; at most {MOST_A_DAY} and {MOST_VALID} are given",
    )
