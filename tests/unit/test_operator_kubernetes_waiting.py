"""Requests that can't be decided, and requests that are far too large."""

import base64
import json
from typing import Any

import pytest

from geneveil.kube.csr_wire import (
    MOST_REQUEST_BYTES,
    MOST_USAGES,
    NODE_NAME,
    NODE_UID,
    SigningRequest,
    parse_signing_request,
    trim_signing_request,
)
from geneveil.operator.kubernetes.waiting import TOLD_AGAIN_SECONDS, WaitLog, count_earlier

PEM = "-----BEGIN CERTIFICATE REQUEST-----\n"


def _document(
    name: str, node: str = "a", second: int = 0, status: Any = None, **spec: Any
) -> dict[str, Any]:
    document: dict[str, Any] = {
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "7",
            "creationTimestamp": f"2026-05-01T11:59:{second:02}Z",
            "managedFields": [{"manager": "m" * 99}],
        },
        "spec": {
            "request": base64.b64encode(PEM.encode()).decode(),
            "signerName": "geneveil.io/node",
            "usages": ["ipsec tunnel"],
            "username": "agent",
            "extra": {NODE_NAME: [node], NODE_UID: ["u"], "more": ["x" * 99]},
            **spec,
        },
    }
    return document | ({"status": status} if status else {})


def _request(name: str, node: str = "a", second: int = 0, **more: Any) -> SigningRequest:
    return parse_signing_request(_document(name, node, second, **more))


def test_what_is_made_before_it_counts_of_the_same_node_alone() -> None:
    denied = {"conditions": [{"type": "Denied", "status": "True"}]}
    found = count_earlier(
        [
            _request("z", second=1),
            _request("c", second=2),
            _request("b", second=2),
            _request("other", "b", second=1),
            _request("answered", second=0, status=denied),
            _request("stranger", extra={}),
        ]
    )
    assert dict(found) == {"uid-z": 0, "uid-b": 1, "uid-c": 2, "uid-other": 0}


def test_the_log_hears_a_reason_once_and_then_rarely() -> None:
    log = WaitLog()
    told = [
        log.is_worth_telling("u", why, at)
        for why, at in (
            ("no chassis", 0.0),
            ("no chassis", 1.0),
            ("no authority", 2.0),
            ("no authority", TOLD_AGAIN_SECONDS),
            ("no authority", TOLD_AGAIN_SECONDS + 2.0),
        )
    ]
    assert told == [True, False, True, False, True]
    log.keep_only({"another"})
    assert log.is_worth_telling("u", "no authority", TOLD_AGAIN_SECONDS + 3.0)


LARGE: dict[str, dict[str, Any]] = {
    "request": _document("r", request="QUFB" * MOST_REQUEST_BYTES),
    "usages": _document("r", usages=["ipsec tunnel"] * 100_000),
    "another extra": _document("r", extra={NODE_NAME: ["a"], "more": ["x" * 1_000_000]}),
    "names of nodes": _document("r", extra={NODE_NAME: ["a"] * 100_000, NODE_UID: ["u"]}),
}
LARGE["annotations"] = _document("r")
LARGE["annotations"]["metadata"]["annotations"] = {"a": "x" * 200_000}


@pytest.mark.parametrize("case", LARGE)
def test_little_is_held_of_a_large_object(case: str) -> None:
    held = trim_signing_request(LARGE[case])
    assert len(json.dumps(held)) < 2 * MOST_REQUEST_BYTES
    assert trim_signing_request(held) == held
    whole, trimmed = parse_signing_request(LARGE[case]), parse_signing_request(held)
    assert whole == trimmed
    assert whole.is_too_large is (case in ("request", "annotations"))
    assert bool(whole.csr_pem) is not whole.is_too_large
    assert whole.usages != ("ipsec tunnel",) or case != "usages"
    assert len(whole.usages) <= MOST_USAGES
    assert len(whole.node_names) == (2 if case == "names of nodes" else 1)
    assert whole.document["metadata"]["resourceVersion"] == "7"


def test_nothing_is_held_of_what_was_answered() -> None:
    answered = _request("r", status={"certificate": "UEVN", "conditions": []})
    assert answered.is_answered
    assert (answered.csr_pem, answered.document) == ("", {})


def test_an_object_of_no_shape_is_the_readers_to_refuse() -> None:
    assert trim_signing_request({"metadata": {"name": "r"}})["spec"]["request"] is None
    with pytest.raises(KeyError):
        parse_signing_request({"metadata": {"name": "r", "uid": "u"}})
