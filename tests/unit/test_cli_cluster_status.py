"""`geneveil status --cluster`: what objects come to, and what is said without them."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from geneveil.cli.app import app
from geneveil.cli.cluster_status import cluster_document, explain_lead
from geneveil.cli.cluster_view import render_cluster
from geneveil.model.errors import ConfigError
from geneveil.operator.kubernetes.election import LeaseRecord

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)


def cluster(mode: str = "Full", **statuses: str) -> dict[str, Any]:
    conditions = [{"type": kind, "status": word} for kind, word in statuses.items()]
    return {"spec": {"mode": mode}, "status": {"conditions": conditions}}


def node(name: str, heartbeat: str = "2026-11-24T01:58:00Z", **statuses: str) -> dict[str, Any]:
    words = {"Ready": "True", "CertificateValid": "True", "GuardInPlace": "True", **statuses}
    conditions = [
        {"type": kind, "status": word, "message": f"{kind} is {word}"}
        for kind, word in words.items()
    ]
    return {
        "metadata": {"name": name},
        "status": {
            "chassis": name,
            "peersUp": 2,
            "peersTotal": 2,
            "guard": "InPlace",
            "heartbeatTime": heartbeat,
            "conditions": conditions,
        },
    }


GOOD = cluster(Available="True", Degraded="False")
TRUSTING = {"spec": {"mode": "Disabled"}, "status": {"trust": {"generation": 7}}}
LED = LeaseRecord("one", "2026-11-24T01:59:58Z", 15, 1, "7")


@pytest.mark.parametrize(
    ("found", "nodes", "well", "words"),
    [
        (GOOD, [node("a"), node("b")], True, "all is well: 2 of 2"),
        (GOOD, [node("a"), node("b", Ready="False")], False, "1 of 2"),
        (cluster(Available="False"), [node("a")], False, "attention: 1 of 1"),
        (cluster(Available="True", Degraded="True"), [node("a")], False, "attention"),
        (cluster("Disabled"), [], True, "IPsec is off"),
        (cluster("Disabled", Degraded="True"), [], False, "IPsec is off"),
        (None, [], True, "no ClusterIPsec"),
        # what was sealed goes on, whatever became of the switch
        (None, [node("a")], False, "is gone, and IPsec is on, as it was sealed: 1 of 1"),
        (cluster("Disabled"), [node("a")], False, "says mode: Disabled, and IPsec is on"),
        (TRUSTING, [], False, "says mode: Disabled, and IPsec is on"),
        (None, [{"metadata": {"name": "a"}}], True, "no ClusterIPsec"),
    ],
)
def test_a_cluster_is_well_if_all_of_it_is(
    found: dict[str, Any] | None, nodes: list[dict[str, Any]], well: bool, words: str
) -> None:
    document = cluster_document(found, nodes, NOW)
    assert document["well"] is well
    assert words in document["summary"]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (LED, replace(LED, renewed="2026-11-24T02:00:03Z", version="8"), ""),
        (None, LED, ""),
        (LED, LED, "renewed last at 2026-11-24T01:59:58Z"),
        (LED, replace(LED, holder=""), "no operator leads"),
        (LED, None, "there is no Lease"),
        (None, None, "there is no Lease"),
    ],
)
def test_an_operator_that_does_not_lead_is_told(
    before: LeaseRecord | None, after: LeaseRecord | None, words: str
) -> None:
    why = explain_lead(before, after)
    assert words in why
    assert bool(why) is bool(words)
    document = cluster_document(GOOD, [node("a")], NOW, why)
    assert document["well"] is not bool(words)
    assert document["operator"] == why
    # where nothing is to be issued or revoked nobody waits for it
    assert cluster_document(cluster("Disabled"), [], NOW, why)["well"]


@pytest.mark.parametrize(
    ("of", "complaint"),
    [
        (node("a"), ""),
        (node("a", "2026-11-24T01:40:00Z"), "silent since 2026-11-24 01:40:00Z"),
        (node("a", Ready="False", GuardInPlace="False"), "GuardInPlace is False"),
        (node("a", Ready="Unknown"), "Ready is Unknown"),
        ({"metadata": {"name": "a"}}, "not said anything"),
    ],
)
def test_the_worst_of_a_node_is_told(of: dict[str, Any], complaint: str) -> None:
    (line,) = cluster_document(GOOD, [of], NOW)["nodes"]
    assert complaint in line["complaint"]
    assert line["well"] is not bool(complaint)


def test_what_is_wrong_comes_first() -> None:
    lines = cluster_document(GOOD, [node("a"), node("b", Ready="False")], NOW)["nodes"]
    assert [line["node"] for line in lines] == ["b", "a"]


def test_without_a_kubeconfig_it_says_so(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    done = CliRunner().invoke(app, ["status", "--cluster", "--kubeconfig", str(missing)])
    assert isinstance(done.exception, ConfigError)
    assert str(missing) in done.exception.render()
    alone = CliRunner().invoke(app, ["status", "--kubeconfig", str(missing)])
    assert isinstance(alone.exception, ConfigError)


def test_what_a_node_wrote_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """A stolen node writes its own object: it must not keep a person from seeing the others."""
    stolen = node("a", Ready="False")
    stolen["status"]["chassis"] = "[/red]"
    stolen["status"]["conditions"][0]["message"] = "all\x1b[2Jwell"
    render_cluster(cluster_document(GOOD, [stolen, node("b")], NOW))
    shown = capsys.readouterr().out
    assert "[/red]" in shown
    assert "\x1b" not in shown
    assert "1 of 2 nodes are well" in shown


def test_what_is_wrong_with_a_node_has_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ill = node("b", Ready="False")
    ill["status"]["conditions"][0]["message"] = words = "pair with node3 is down; " * 8
    render_cluster(cluster_document(GOOD, [node("a"), ill], NOW))
    assert f"b: Ready: {words}" in capsys.readouterr().out.splitlines()


def test_a_heartbeat_that_is_no_time_is_a_complaint() -> None:
    document = cluster_document(GOOD, [node("a", heartbeat="2026-11-24T01:59:60Z")], NOW)
    assert "is no time" in document["nodes"][0]["complaint"]
