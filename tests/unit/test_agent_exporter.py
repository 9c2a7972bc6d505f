"""Metrics: read back by a strict parser of Prometheus' text format."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from geneveil.agent.config import AgentConfig, parse_agent_config
from geneveil.agent.exporter.server import respond
from geneveil.agent.exporter.text import render_metrics
from geneveil.agent.status import build_disabled_status
from geneveil.model.errors import ConfigError
from geneveil.model.guard import GuardCounter, Tally
from geneveil.model.health import Finding, HealthValue, Severity
from geneveil.model.node_status import (
    CertificateStatus,
    GuardStatus,
    PeerState,
    PeerStatus,
    SentinelStatus,
)
from geneveil.model.sentinel import SentinelCounter

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EMPTY = build_disabled_status(AgentConfig(chassis="node1"), NOW, 7)
PEER = PeerStatus("node2", "192.0.2.1", "192.0.2.2", PeerState.UP, NOW, True)
FULL = replace(
    EMPTY,
    mode="Full",
    peers=(PEER, replace(PEER, chassis="node3", state=PeerState.DOWN)),
    certificate=CertificateStatus("node1", "01", "ab", "CN=ca", NOW, NOW, NOW),
    guard=GuardStatus(
        True, (6081,), {GuardCounter.CLEARTEXT_OUT: Tally(3, 300)}, 2, NOW, is_bolted=True
    ),
    sentinel=SentinelStatus(("eth0",), {SentinelCounter.WIRE_OUT: Tally(0, 0)}),
    health=(
        HealthValue(Finding("odd", Severity.ERROR, 'a "peer"\\\nof mine', "what"), NOW),
        HealthValue(Finding("odd", Severity.WARNING, "other", "what"), NOW),
    ),
)

SAMPLE = re.compile(r"([a-z_]+)(?:\{(.*)\})? (-?[0-9.e+]+)")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


def parse(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample; fails on anything that the format does not allow."""
    assert text.endswith("\n")
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    helped, typed, current = set(), {}, ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in helped
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, current, kind = line.split(" ")
            assert current in helped and current not in typed
            assert kind in ("gauge", "counter")
            assert (kind == "counter") == current.endswith("_total")
            typed[current] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == current
            labels = match[2] or ""
            pairs = LABEL.findall(labels)
            assert LABEL.sub("", labels) == "", labels
            key = (match[1], frozenset(pairs))
            assert key not in found
            found[key] = float(match[3])
    return found


def test_all_that_the_status_knows_is_there() -> None:
    found = parse(render_metrics(FULL))
    bare = {name.removeprefix("geneveil_"): value for (name, labels), value in found.items()
            if not labels}  # fmt: skip
    assert bare == {
        "last_turn_timestamp_seconds": NOW.timestamp(),
        "peers": 2,
        "peers_up": 1,
        "guard_in_place": 1,
        "guard_bolted": 1,
        "guard_disturbances_total": 2,
        "sentinel_in_place": 1,
        "certificate_not_after_timestamp_seconds": NOW.timestamp(),
    }
    dropped = ("geneveil_guard_dropped_packets_total", frozenset({("reason", "cleartext_out")}))
    assert found[dropped] == 3
    leaked = ("geneveil_sentinel_cleartext_frames_total", frozenset({("direction", "out")}))
    assert found[leaked] == 0
    codes = [dict(labels) for name, labels in found if name == "geneveil_health"]
    assert {"code": "odd", "severity": "error", "subject": 'a \\"peer\\"\\\\\\nof mine'} in codes
    assert len(codes) == 2


def test_what_is_not_known_is_left_out() -> None:
    names = {name for name, _labels in parse(render_metrics(EMPTY))}
    assert names == {"geneveil_agent_info", "geneveil_last_turn_timestamp_seconds",
                     "geneveil_peers", "geneveil_peers_up"}  # fmt: skip


ANSWERS = {
    b"GET /metrics HTTP/1.1\r\n\r\n": (b"200", b"x 1\n"),
    b"GET /metrics?a=b HTTP/1.0\r\n\r\n": (b"200", b"x 1\n"),
    b"HEAD /metrics HTTP/1.1\r\n\r\n": (b"200", b""),
    b"GET / HTTP/1.1\r\n\r\n": (b"404", b"see /metrics\n"),
    b"POST /metrics HTTP/1.1\r\n\r\n": (b"405", b"only GET\n"),
    b"\x16\x03\x01\r\n\r\n": (b"400", b"this is HTTP\n"),
}


@pytest.mark.parametrize(("request_", "answer"), ANSWERS.items())
def test_requests(request_: bytes, answer: tuple[bytes, bytes]) -> None:
    head, _, body = respond(request_, b"x 1\n").partition(b"\r\n\r\n")
    assert (head.split(b" ")[1], body) == answer


HEAD = "apiVersion: geneveil.io/v1alpha1\nkind: AgentConfig\n"
ADDRESSES = {
    "127.0.0.1:9478": ("127.0.0.1", 9478),
    "[::1]:1": ("::1", 1),
    "127.0.0.1": None,
    "localhost:9478": None,
    "0.0.0.0:9478": None,
    "192.0.2.1:9478": None,
    "127.0.0.1:0": None,
    "127.0.0.1:65536": None,
    "127.0.0.1:x": None,
}


@pytest.mark.parametrize(("listen", "address"), ADDRESSES.items())
def test_only_a_loopback_address_is_taken(listen: str, address: tuple[str, int] | None) -> None:
    text = f'{HEAD}metrics: {{listen: "{listen}"}}\n'
    if address is None:
        with pytest.raises(ConfigError, match=r"agent.yaml:3: field metrics.listen"):
            parse_agent_config(text, "agent.yaml")
    else:
        assert parse_agent_config(text, "agent.yaml").metrics == address


def test_off_by_default() -> None:
    assert parse_agent_config(HEAD, "agent.yaml").metrics is None
