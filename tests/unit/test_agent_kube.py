"""The agent on Kubernetes, as values: its configuration, its objects, its pace."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from geneveil.agent.config import ControlPlaneKind, KubernetesConfig, parse_agent_config
from geneveil.agent.enrolment import Situation, must_enrol
from geneveil.agent.kube.node_ipsec import (
    confirmation_document,
    judge_conditions,
    read_transitions,
    status_document,
    status_fields,
)
from geneveil.agent.kube.pace import (
    CONFIRMATION_SECONDS,
    confirmation_wait_seconds,
    decision_seconds,
    heartbeat_seconds,
    is_due,
)
from geneveil.agent.kube.place import find_place
from geneveil.agent.kube.remedies import reword
from geneveil.agent.kube.request import judge_request, request_document, request_name
from geneveil.enroll.port import WatchState
from geneveil.model.cluster import KeyType
from geneveil.model.errors import ConfigError, RefusedError, TrustError
from geneveil.model.guard import GuardCounter, Tally
from geneveil.model.health import Finding, HealthValue, Severity
from geneveil.model.node_status import (
    CertificateStatus,
    GuardStatus,
    NodeStatus,
    PeerState,
    PeerStatus,
)
from geneveil.pki.keys import build_request, make_key

NOW = datetime(2026, 11, 24, 1, 0, tzinfo=UTC)
HEAD = "apiVersion: geneveil.io/v1alpha1\nkind: AgentConfig\n"
REQUEST = build_request(make_key(KeyType.ECDSA_P256), "node1")


def node_status(*states: PeerState, health: tuple[HealthValue, ...] = ()) -> NodeStatus:
    peers = tuple(
        PeerStatus(f"node{n}", "192.0.2.1", f"192.0.2.{n}", state, NOW, initiator=True)
        for n, state in enumerate(states, 2)
    )
    return NodeStatus(
        written_at=NOW,
        version="0",
        pid=1,
        chassis="node1",
        mode="Full",
        charon="6.0",
        tunnels=len(peers),
        peers=peers,
        certificate=CertificateStatus(
            "node1", "0a" * 20, "f" * 64, "CN=x", NOW, NOW + timedelta(days=1), NOW
        ),
        guard=GuardStatus(True, (6081,), {GuardCounter.CLEARTEXT_OUT: Tally(3, 300)}),
        health=health,
    )


def finding(code: str, severity: Severity, subject: str = "x") -> HealthValue:
    return HealthValue(Finding(code, severity, subject, "it is so"), NOW)


def test_standalone_is_the_default_and_the_section_has_defaults() -> None:
    assert parse_agent_config(HEAD, "f").control_plane is ControlPlaneKind.STANDALONE
    config = parse_agent_config(HEAD + "controlPlane: kubernetes\n", "f")
    assert config.control_plane is ControlPlaneKind.KUBERNETES
    assert config.kubernetes == KubernetesConfig()
    text = HEAD + (
        "controlPlane: kubernetes\nkubernetes:\n  apiServer: https://a:6443\n  caFile: /ca\n"
        "  tokenFile: /token\n  namespace: here\n  nodeName: worker-1.example\n"
        "  signerName: example.org/node\n"
    )
    assert parse_agent_config(text, "f").kubernetes == KubernetesConfig(
        "https://a:6443",
        Path("/ca"),
        Path("/token"),
        "here",
        "worker-1.example",
        "example.org/node",
    )


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("controlPlane: openstack", "controlPlane"),
        ("kubernetes: {apiServer: http://a}", "apiServer"),
        ("kubernetes: {tokenFile: token}", "tokenFile"),
        ("kubernetes: {namespace: A}", "namespace"),
        ("kubernetes: {nodeName: a/b}", "nodeName"),
        ("kubernetes: {signerName: nonsense}", "signerName"),
        ("kubernetes: {password: x}", "password"),
    ],
)
def test_a_senseless_field_is_named(line: str, field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        parse_agent_config(f"{HEAD}{line}\n", "f")


@pytest.mark.parametrize(
    ("host", "url"),
    [("10.96.0.1", "https://10.96.0.1:443"), ("fd00::1", "https://[fd00::1]:443")],
)
def test_a_pod_knows_what_the_configuration_leaves_open(host: str, url: str) -> None:
    place = find_place(
        KubernetesConfig(), {"KUBERNETES_SERVICE_HOST": host, "NODE_NAME": "worker-1"}
    )
    assert (place.access.server, place.node) == (url, "worker-1")
    written = KubernetesConfig(api_server="https://a:6443", node_name="worker-2")
    place = find_place(written, {"KUBERNETES_SERVICE_HOST": host, "NODE_NAME": "worker-1"})
    assert (place.access.server, place.node) == ("https://a:6443", "worker-2")


@pytest.mark.parametrize("environment", [{}, {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}])
def test_who_is_not_told_enough_says_so(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="nobody said"):
        find_place(KubernetesConfig(), environment)


def test_the_same_bytes_are_the_same_object() -> None:
    name = request_name("node1", REQUEST)
    assert name == request_name("node1", REQUEST)
    assert name.startswith("geneveil-node1-")
    assert len(name) == len("geneveil-node1-") + 10
    other = build_request(make_key(KeyType.ECDSA_P256), "node1")
    assert request_name("node1", other) != name


def test_what_came_of_a_request() -> None:
    made = request_document("n", REQUEST, "geneveil.io/node")
    assert judge_request(made, REQUEST, "geneveil.io/node") is None
    approved = made | {"status": {"conditions": [{"type": "Approved", "reason": "checked"}]}}
    assert judge_request(approved, REQUEST, "geneveil.io/node") is None
    for kind in ("Denied", "Failed"):
        decided = made | {"status": {"conditions": [{"type": kind, "reason": "name-invalid"}]}}
        with pytest.raises(RefusedError, match="name-invalid"):
            judge_request(decided, REQUEST, "geneveil.io/node")
    for certificate in ("!", "bm8gUEVN"):
        with pytest.raises(TrustError):
            judge_request(
                made | {"status": {"certificate": certificate}}, REQUEST, "geneveil.io/node"
            )
    with pytest.raises(TrustError, match="not this node's"):
        judge_request(made, REQUEST, "example.org/other")


def test_what_is_empty_is_left_out_of_a_confirmation() -> None:
    full = WatchState(3, ("ab" * 32,), (("cd" * 32, 1),), "02" * 20, ("03" * 20,))
    assert confirmation_document("node1", full)["status"]["trust"] == {
        "generation": 3,
        "trusts": ["ab" * 32],
        "crls": {"cd" * 32: 1},
        "serial": "02" * 20,
        "inUse": ["03" * 20],
    }
    bare = confirmation_document("node1", WatchState(0, (), (), "02" * 20))
    assert bare["status"]["trust"] == {"generation": 0, "serial": "02" * 20}


def test_a_nodes_status_in_its_object() -> None:
    fields = status_fields(node_status(PeerState.UP, PeerState.DOWN))
    assert (fields["peersUp"], fields["peersTotal"], fields["guard"]) == (1, 2, "InPlace")
    assert fields["cleartextOut"] == 3
    assert "cleartextIn" not in fields  # a counter that was not read is not 0
    assert fields["certificate"] == {"serial": "0a" * 20, "notAfter": "2026-11-25T01:00:00Z"}
    document = status_document("node1", fields, {}, NOW)
    assert document["metadata"] == {"name": "node1"}
    assert document["status"]["heartbeatTime"] == "2026-11-24T01:00:00Z"
    # A condition that stays keeps its time; one that changes gets a new one.
    later = NOW + timedelta(hours=1)
    again = status_document("node1", fields, read_transitions(document), later)
    assert read_transitions(again) == read_transitions(document)
    before = read_transitions(document) | {"Ready": ("False", "2020-01-01T00:00:00Z")}
    changed = read_transitions(status_document("node1", fields, before, later))
    assert changed["Ready"] == ("True", "2026-11-24T02:00:00Z")


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ((), ["True", "True", "True"]),
        ((finding("operator-silent", Severity.INFO),), ["True", "True", "True"]),
        ((finding("peer-down", Severity.WARNING),), ["False", "True", "True"]),
        (
            (finding("certificate-expired", Severity.ERROR, "node certificate"),),
            ["False", "False", "True"],
        ),
    ],
)
def test_conditions(health: tuple[HealthValue, ...], expected: list[str]) -> None:
    conditions = judge_conditions(node_status(PeerState.UP, health=health))
    assert [one[0] for one in conditions] == ["Ready", "CertificateValid", "GuardInPlace"]
    assert [one[1] for one in conditions] == expected
    for _, _, reason, message in conditions:
        assert reason.isalnum()
        assert message


def fields(**changes: Any) -> dict[str, Any]:
    return {"peersUp": 1, "cleartextOut": 0, "conditions": [("Ready", "True", "A", "m")], **changes}


NOT_READY = [("Ready", "False", "PeerDown", "m")]
ENDED = [*NOT_READY, ("CertificateValid", "False", "CertificateExpired", "m")]


@pytest.mark.parametrize(
    ("now", "written", "age", "due"),
    [
        (fields(), None, 0, True),
        (fields(), fields(), 299, False),
        (fields(), fields(), 300, True),
        (fields(peersUp=2), fields(), 1, False),
        (fields(peersUp=2), fields(), 2, True),
        (fields(cleartextOut=9), fields(), 59, False),
        (fields(cleartextOut=9), fields(), 60, True),
        (fields(conditions=[("Ready", "True", "A", "other")]), fields(), 10, False),
        (fields(conditions=[("Ready", "False", "B", "m")]), fields(), 10, True),
        # of a thousand peers there is always news
        (fields(peersTotal=1000, peersUp=2), fields(peersTotal=1000), 99, False),
        (fields(peersTotal=1000, peersUp=2), fields(peersTotal=1000), 100, True),
        (fields(peersTotal=1000, conditions=NOT_READY), fields(peersTotal=1000), 99, False),
        (fields(peersTotal=1000, conditions=ENDED), fields(peersTotal=1000), 2, True),
        (fields(peersTotal=1000, guard="Missing"), fields(peersTotal=1000), 2, True),
    ],
)
def test_when_the_status_is_written(
    now: dict[str, Any], written: dict[str, Any] | None, age: float, due: bool
) -> None:
    assert is_due(now, written, age, 300.0) is due


def test_a_decision_is_waited_for_longer_and_longer_but_not_for_ever() -> None:
    waits = [decision_seconds(undecided) for undecided in (0, 1, 2, 4, 5, 1000)]
    assert waits == [60.0, 120.0, 240.0, 960.0, 960.0, 960.0]


def test_nodes_do_not_beat_together() -> None:
    beats = {heartbeat_seconds(f"node{n}") for n in range(100)}
    assert len(beats) == 100
    assert all(240 <= beat <= 360 for beat in beats)


def test_a_node_that_needs_no_token_asks_whenever_it_has_no_identity() -> None:
    expired = Situation(has_identity=False, has_certificate=True, token=None)
    assert not must_enrol(expired)
    assert must_enrol(replace(expired, needs_token=False))
    usable = Situation(has_identity=True, has_certificate=True, token=None, needs_token=False)
    assert not must_enrol(usable)
    assert not must_enrol(replace(usable, is_refused=True))  # its objects say why


def test_no_remedy_speaks_of_join_tokens() -> None:
    codes = ("not-enrolled", "node-revoked", "certificate-expired", "peer-revoked", "peer-expired")
    for code in (*codes, "one that nobody thought of"):
        told = Finding(code, Severity.ERROR, "x", "y", "make a token: geneveil operator token NODE")
        assert "token" not in reword(told).remedy
        # a Node that is made anew does not undo a person's word
        assert ("operator readmit" in reword(told).remedy) is code.endswith("-revoked")
    other = Finding("guard-missing", Severity.ERROR, "x", "y", "z")
    assert reword(other) == other


SAID = WatchState(5, ("ab" * 32,), (("ab" * 32, 3),), "01" * 20, ("02" * 20,))
CONFIRMATIONS: dict[str, tuple[WatchState, WatchState | None, bool]] = {
    "nothing was said yet": (SAID, None, True),
    "the same": (SAID, SAID, True),
    "another generation": (replace(SAID, generation=6), SAID, False),
    "another list": (replace(SAID, crls=(("ab" * 32, 4),)), SAID, False),
    "another authority": (replace(SAID, generation=6, trusts=()), SAID, True),
    "another certificate": (replace(SAID, serial="03" * 20), SAID, True),
    "one less in use": (replace(SAID, in_use=()), SAID, True),
}


@pytest.mark.parametrize("case", CONFIRMATIONS)
def test_what_is_confirmed_at_once_and_what_within_a_minute(case: str) -> None:
    state, confirmed, is_at_once = CONFIRMATIONS[case]
    wait = confirmation_wait_seconds("node1", state, confirmed, 0.0)
    assert (wait == 0) is is_at_once
    if not is_at_once:
        assert CONFIRMATION_SECONDS / 2 <= wait <= CONFIRMATION_SECONDS
        assert confirmation_wait_seconds("node1", state, confirmed, wait) == 0
        others = {confirmation_wait_seconds(f"n{n}", state, confirmed, 0.0) for n in range(9)}
        assert len(others) == 9  # not all together
