"""What a CertificateSigningRequest gets: the decision, without an API server."""

import base64
import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from geneveil.kube.csr_wire import (
    SigningRequest,
    certified_document,
    denied_document,
    parse_signing_request,
)
from geneveil.model.cluster import KeyType
from geneveil.operator.decide import Issue, IssueAgain, Refuse
from geneveil.operator.kubernetes.capacity import MOST_OF_ONE
from geneveil.operator.kubernetes.claims import Claims, NodeFacts
from geneveil.operator.kubernetes.decide_signing import (
    MOST_A_DAY,
    MOST_AGE,
    MOST_BEHIND,
    SigningView,
    Wait,
    decide_signing,
)
from geneveil.operator.kubernetes.ledger import Binding
from geneveil.operator.kubernetes.waiting import MOST_WAITING
from geneveil.operator.records import CertificateRecord, Kind, NodeRecord, Standing
from geneveil.pki.reasons import Reason
from geneveil.pki.request import ReadRequest, read_request

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + MOST_BEHIND
KEY = ec.derive_private_key(4711, ec.SECP256R1())
AGENT = "system:serviceaccount:geneveil-system:geneveil-agent"


def _csr(chassis: str = "chassis-a") -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, chassis)])
    names = x509.SubjectAlternativeName([x509.DNSName(chassis)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    request = builder.add_extension(names, critical=False).sign(
        KEY, hashes.SHA256(), ecdsa_deterministic=True
    )
    return request.public_bytes(serialization.Encoding.PEM).decode()


PEM = _csr()
READ = read_request(PEM)
assert isinstance(READ, ReadRequest)
SHA256 = hashlib.sha256(READ.der).digest()
NAME = f"geneveil-a-{SHA256.hex()[:10]}"


def _document(**spec: Any) -> dict[str, Any]:
    extra = {
        "authentication.kubernetes.io/node-name": ["a"],
        "authentication.kubernetes.io/node-uid": ["uid-a"],
    }
    return {
        "metadata": {"name": NAME, "uid": "u", "creationTimestamp": "2026-05-01T11:59:00Z"},
        "spec": {
            "request": base64.b64encode(PEM.encode()).decode(),
            "signerName": "geneveil.io/node",
            "usages": ["ipsec tunnel"],
            "username": AGENT,
            "extra": extra,
            **spec,
        },
    }


def _request(**spec: Any) -> SigningRequest:
    return parse_signing_request(_document(**spec))


def _view(**changes: Any) -> SigningView:
    view = SigningView(
        csr=_request(),
        namespace="geneveil-system",
        node=NodeFacts("a", "uid-a", annotated="chassis-a"),
        claimants=(),
        binding=None,
        is_bound_here=False,
        request=READ,
        own=(),
        key_sha256=b"k",
        key_holder="",
        standing=None,
        reserved_names=("geneveil-operator",),
        key_type=KeyType.ECDSA_P256,
        now=NOW,
        server_now=NOW,
    )
    return replace(view, **changes)


def _record(number: int, **changes: Any) -> CertificateRecord:
    record = CertificateRecord(
        serial=f"{number:040x}",
        kind=Kind.NODE,
        chassis="chassis-a",
        authority_id=1,
        certificate_pem=b"PEM",
        key_sha256=b"other",
        issued_at=NOW - timedelta(hours=1),
        not_before=NOW - timedelta(hours=1),
        not_after=NOW + timedelta(days=1),
        csr_sha256=b"other",
    )
    return replace(record, **changes)


def test_a_node_with_its_own_token_gets_its_certificate() -> None:
    decision = decide_signing(_view())
    assert isinstance(decision, Issue)
    assert (decision.chassis, decision.predecessor, decision.token) == ("chassis-a", "", "")


def test_a_renewal_names_what_it_follows() -> None:
    decision = decide_signing(_view(own=(_record(1), _record(2))))
    assert isinstance(decision, Issue)
    assert decision.predecessor == f"{2:040x}"


def test_the_same_request_is_answered_again() -> None:
    earlier = _record(1, csr_sha256=SHA256, key_sha256=b"k")
    view = _view(own=(earlier,), binding=Binding("a", "uid-a"), is_bound_here=True)
    assert decide_signing(view) == IssueAgain(earlier)


def test_but_not_once_another_certificate_followed_it() -> None:
    earlier = _record(1, csr_sha256=SHA256, key_sha256=b"k")
    view = _view(own=(earlier, _record(2)), binding=Binding("a", "uid-a"), is_bound_here=True)
    decision = decide_signing(view)
    assert isinstance(decision, Refuse)
    assert decision.findings[0].reason.value == "csr-key-reused"


def test_a_node_whose_chassis_nobody_knows_yet_waits() -> None:
    assert isinstance(decide_signing(_view(node=NodeFacts("a", "uid-a"))), Wait)


def test_but_only_so_many_of_one_node() -> None:
    node = NodeFacts("a", "uid-a")
    assert isinstance(decide_signing(_view(node=node, earlier=MOST_WAITING - 1)), Wait)
    decision = decide_signing(_view(node=node, earlier=MOST_WAITING))
    assert isinstance(decision, Refuse)
    (finding,) = decision.findings
    assert finding.reason is Reason.TOO_MANY_WAITING
    assert "8 earlier requests of Node 'a' are not decided yet" in finding.message


def test_nor_do_more_of_a_node_that_was_not_heard_of_yet() -> None:
    assert isinstance(decide_signing(_view(node=None, earlier=MOST_WAITING - 1)), Wait)
    decision = decide_signing(_view(node=None, earlier=MOST_WAITING))
    assert isinstance(decision, Refuse)
    assert [one.reason for one in decision.findings] == [Reason.TOO_MANY_WAITING]


def test_what_can_be_decided_need_not_wait_however_many_came_before() -> None:
    assert isinstance(decide_signing(_view(earlier=1000)), Issue)


def test_what_is_too_large_is_refused_whatever_else_is_known() -> None:
    large = parse_signing_request(_document(request="QUFB" * 5000))
    for node in (NodeFacts("a", "uid-a"), NodeFacts("a", "uid-a", annotated="chassis-a")):
        decision = decide_signing(_view(csr=large, node=node))
        assert isinstance(decision, Refuse)
        assert [one.reason for one in decision.findings] == [Reason.CSR_TOO_LARGE]


def test_but_not_for_ever() -> None:
    late = _view(node=NodeFacts("a", "uid-a"), server_now=NOW + MOST_AGE)
    decision = decide_signing(late)
    assert isinstance(decision, Refuse)
    assert decision.findings[0].reason.value == "csr-too-old"


@pytest.mark.parametrize("years", [-10, 10])
def test_an_operator_whose_clock_is_wrong_knows_how_old_a_request_is(years: int) -> None:
    view = _view(now=NOW.replace(year=NOW.year + years))
    assert isinstance(decide_signing(view), Issue)


REVOKED = NodeRecord("chassis-a", Standing.REVOKED, "keyCompromise", NOW)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a human": ({"csr": _request(username="alice")}, "requester-not-agent"),
    "another namespace's agent": (
        {"csr": _request(username="system:serviceaccount:other:geneveil-agent")},
        "requester-not-agent",
    ),
    "a token without a node": ({"csr": _request(extra={})}, "requester-not-bound"),
    "a token with two nodes": (
        {
            "csr": _request(
                extra={
                    "authentication.kubernetes.io/node-name": ["a", "b"],
                    "authentication.kubernetes.io/node-uid": ["uid-a"],
                }
            )
        },
        "requester-not-bound",
    ),
    "a node that is not there": ({"node": None, "server_now": LATER}, "node-unknown"),
    "an earlier node of the name": (
        {"node": NodeFacts("a", "uid-new", annotated="chassis-a"), "server_now": LATER},
        "node-replaced",
    ),
    "another chassis": (
        {"node": NodeFacts("a", "uid-a", annotated="chassis-b")},
        "csr-common-name",
    ),
    "a chassis that another claims": ({"claimants": ("b",)}, "chassis-claimed-twice"),
    "a chassis that another has": (
        {"binding": Binding("b", "uid-b"), "is_bound_here": True},
        "chassis-claimed-twice",
    ),
    "a reserved name": ({"reserved_names": ("chassis-a",)}, "name-reserved"),
    "more usages": (
        {"csr": _request(usages=["ipsec tunnel", "client auth"])},
        "csr-usages",
    ),
    "no usages": ({"csr": _request(usages=[])}, "csr-usages"),
    "a lifetime": ({"csr": _request(expirationSeconds=600)}, "csr-duration"),
    "an old request": ({"server_now": NOW + MOST_AGE}, "csr-too-old"),
    "its own old key": ({"own": (_record(1, key_sha256=b"k"),)}, "csr-key-reused"),
    "another's key": ({"key_holder": "chassis-b"}, "csr-key-in-use"),
    "a revoked chassis": ({"standing": REVOKED}, "node-revoked"),
    "too many": (
        {"own": tuple(_record(n) for n in range(MOST_A_DAY))},
        "too-many-certificates",
    ),
    "more than are remembered": ({"kept": MOST_OF_ONE}, "too-many-certificates"),
    "bytes that are no CSR": ({"request": read_request("nonsense")}, "csr-malformed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    changes, reason = REFUSED[case]
    decision = decide_signing(_view(**changes))
    assert isinstance(decision, Refuse)
    assert decision.findings[0].reason.value == reason


LONG_AGO = {"issued_at": NOW - timedelta(days=9), "revoked_at": NOW - timedelta(days=8)}


def test_what_is_remembered_is_no_reason_while_there_is_room() -> None:
    own = tuple(_record(n, **LONG_AGO) for n in range(2 * MOST_OF_ONE))
    assert isinstance(decide_signing(_view(own=own, kept=MOST_OF_ONE - 1)), Issue)


@pytest.mark.parametrize("node", [None, NodeFacts("a", "uid-old", annotated="chassis-a")])
def test_a_new_node_may_be_heard_of_after_its_request(node: NodeFacts | None) -> None:
    decision = decide_signing(_view(node=node))
    assert isinstance(decision, Wait)
    assert "as far as is known yet" in decision.why
    assert isinstance(decide_signing(_view(node=node, server_now=LATER)), Refuse)


def test_a_stranger_learns_nothing_but_that() -> None:
    view = _view(csr=_request(username="alice"), standing=REVOKED, claimants=("b",))
    decision = decide_signing(view)
    assert isinstance(decision, Refuse)
    assert [finding.reason.value for finding in decision.findings] == ["requester-not-agent"]


def test_who_had_the_chassis_first_keeps_it() -> None:
    view = _view(claimants=("b",), binding=Binding("a", "uid-a"), is_bound_here=True)
    assert isinstance(decide_signing(view), Issue)


def test_a_node_that_was_deleted_and_is_here_again_is_let_in() -> None:
    removed = NodeRecord("chassis-a", Standing.REMOVED, "cessationOfOperation", NOW)
    assert isinstance(decide_signing(_view(standing=removed)), Issue)


def test_another_name_is_no_way_around_a_revocation() -> None:
    decision = decide_signing(_view(revoked_as="chassis-b"))
    assert isinstance(decision, Refuse)
    assert decision.findings[0].reason is Reason.NODE_REVOKED


def test_another_name_each_time_is_no_way_around_the_rate() -> None:
    elsewhere = tuple(_record(number, chassis=f"c-{number}") for number in range(MOST_A_DAY))
    decision = decide_signing(_view(elsewhere=elsewhere))
    assert isinstance(decision, Refuse)
    assert decision.findings[0].reason is Reason.TOO_MANY_CERTIFICATES
    assert isinstance(decide_signing(_view(elsewhere=elsewhere[1:])), Issue)


def test_claims_are_kept_up() -> None:
    claims = Claims()
    claims.put(NodeFacts("a", "1", annotated="x", reported="y"))
    claims.put(NodeFacts("b", "2", reported="x"))
    assert claims.others("x", "a") == ("b",)
    assert claims.others("y", "b") == ()
    claims.put(NodeFacts("b", "2", reported="z"))
    assert claims.others("x", "a") == ()
    claims.drop("a")
    assert claims.find("a") is None
    assert claims.others("x", "") == ()


def test_a_name_in_other_letters_is_a_claim_to_the_same_name() -> None:
    claims = Claims()
    claims.put(NodeFacts("a", "1", annotated="node-a"))
    claims.put(NodeFacts("b", "2", reported="NODE-A"))
    assert claims.others("NODE-A", "b") == ("a",)
    assert claims.others("node-a", "a") == ("b",)
    claims.drop("a")
    assert claims.others("NODE-A", "b") == ()


def test_answers_keep_what_is_there() -> None:
    request = _request()
    denied = denied_document(request, "csr-usages", "no", NOW)
    (condition,) = denied["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("Denied", "csr-usages")
    assert parse_signing_request(_document() | denied).is_answered
    certified = certified_document(denied, b"PEM")
    assert base64.b64decode(certified["status"]["certificate"]) == b"PEM"
    assert certified["status"]["conditions"] == denied["status"]["conditions"]
    assert "status" not in request.document
