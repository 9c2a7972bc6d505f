"""What `geneveil status -o json` says is what its published schema says."""

import copy
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from geneveil.agent.config import AgentConfig
from geneveil.agent.status import build_disabled_status, build_status
from geneveil.agent.unexpected import failed_health, failed_status
from geneveil.cli.node_view import render_status
from geneveil.cli.status_schema import status_schema
from geneveil.model.guard import GuardCounter, Tally
from geneveil.model.health import Severity, carry_since
from geneveil.model.node_status import (
    GuardStatus,
    NodeStatus,
    PeerState,
    SentinelStatus,
    parse_status,
    status_document,
)
from geneveil.model.sentinel import SentinelCounter
from geneveil.model.trust_status import AuthorityStatus, CrlStatus, RenewalState, TrustStatus
from tests.unit.test_agent_decide import UP, turn
from tests.unit.test_agent_kube import finding, node_status

PUBLISHED = Path(__file__).parents[2] / "docs/schema/node-status.schema.json"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def strict() -> Draft202012Validator:
    """The schema as it is published, and nothing besides: a reader of it is not that strict."""
    schema = copy.deepcopy(json.loads(PUBLISHED.read_text()))
    for definition in schema["$defs"].values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def full(heard_at: datetime | None = NOW) -> NodeStatus:
    """One with everything in it."""
    health = tuple(finding(severity.value, severity) for severity in Severity)
    status = node_status(*PeerState, health=health)
    peers = tuple(
        replace(peer, spi_out=0xC0DE, spi_in=0xFFFFFFFF, next_rekey=NOW, fallback_since=NOW)
        for peer in status.peers[:2]
    )
    trust = TrustStatus(
        RenewalState.CURRENT,
        (AuthorityStatus("CN=x", "ab" * 32, NOW, in_charon=True),),
        (
            CrlStatus("ab" * 32, 1, 0, NOW, None, in_charon=False),
            CrlStatus("cd" * 32, 2, 3, NOW, NOW, in_charon=True),
        ),
        heard_at,
        7,
    )
    return replace(
        status,
        peers=(*peers, *status.peers[2:]),
        trust=trust,
        guard=GuardStatus(
            True, (6081, 7000), {counter: Tally(1, 2) for counter in GuardCounter}, 4, NOW
        ),
        sentinel=SentinelStatus(("eth0",), {counter: Tally() for counter in SentinelCounter}),
        start_ticks=17,
    )


def statuses() -> list[NodeStatus]:
    decision = turn(UP)
    health = carry_since((), decision.findings, UP.now)
    failed = failed_health((), RuntimeError("x"), NOW)
    return [
        full(),
        build_status(UP, decision, health, 17, 4711),
        build_disabled_status(AgentConfig(), NOW, 17),
        failed_status(full(), failed, NOW),
        full(heard_at=None),
    ]


def test_the_published_schema_is_what_the_classes_say() -> None:
    assert json.loads(PUBLISHED.read_text()) == status_schema()


@pytest.mark.parametrize("status", statuses())
def test_every_status_is_as_the_schema_says(status: NodeStatus) -> None:
    document = json.loads(json.dumps(status_document(status)))
    strict().validate(document)
    strict().validate({**document, "agentRuns": True, "stale": False})
    assert status_document(parse_status(document)) == document


def remove(document: dict[str, Any]) -> None:
    del document["guard"]


def mistype(document: dict[str, Any]) -> None:
    document["peers"][0]["spiOut"] = 17


def misspell(document: dict[str, Any]) -> None:
    document["health"][0]["severity"] = "fatal"


def nest(document: dict[str, Any]) -> None:
    document["health"][0]["finding"] = {}


def rename(document: dict[str, Any]) -> None:
    document["schema"] = "geneveil.io/node-status/v2"


@pytest.mark.parametrize("break_it", [remove, mistype, misspell, nest, rename])
def test_what_is_no_status_is_refused(break_it: Any) -> None:
    document = json.loads(json.dumps(status_document(full())))
    break_it(document)
    with pytest.raises(ValidationError):
        strict().validate(document)


def test_names_in_brackets_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    render_status(replace(full(), chassis="[/node]"), "")
    assert capsys.readouterr().out.startswith("[/node]  mode Full\n")
