"""The agent's configuration file: defaults, and each mistake named with file, line and field."""

from pathlib import Path

import pytest

from geneveil.agent.config import AgentConfig, guarded_ports, parse_agent_config
from geneveil.model.cluster import ClusterSettings, Mode
from geneveil.model.errors import ConfigError
from geneveil.model.yaml_lines import parse_yaml

HEAD = "apiVersion: geneveil.io/v1alpha1\nkind: AgentConfig\n"


def parse(rest: str) -> AgentConfig:
    return parse_agent_config(HEAD + rest, "agent.yaml")


def test_everything_has_a_default_and_the_default_is_off() -> None:
    config = parse("")
    assert config == AgentConfig()
    assert config.mode is Mode.DISABLED


def test_every_field_is_read() -> None:
    config = parse(
        "mode: Full\ngenevePorts: [7000, 6081]\nstateDir: /a\nrunDir: /b\nchassis: node1\n"
        "ovsdb: tcp:127.0.0.1:6640\nvici: unix:///c\n"
        "operator: {url: 'https://op:9443', tokenFile: /d}\n"
    )
    assert config == AgentConfig(
        mode=Mode.FULL,
        geneve_ports=(6081, 7000),
        operator_url="https://op:9443",
        token_file=Path("/d"),
        state_dir=Path("/a"),
        run_dir=Path("/b"),
        ovsdb="tcp:127.0.0.1:6640",
        vici="unix:///c",
        chassis="node1",
    )


MISTAKES = {
    "mistyped field": ("modus: Full\n", "agent.yaml:3: field modus: there is no such field"),
    "mistyped inner field": (
        "operator:\n  uri: x\n",
        "agent.yaml:4: field operator.uri: there is no such field",
    ),
    "unknown mode": ("mode: On\n", "agent.yaml:3: field mode: 'On' is not one of Disabled, Full"),
    "mode in small letters": ("mode: full\n", "'full' is not one of Disabled, Full"),
    "field twice": ("mode: Full\nmode: Disabled\n", "agent.yaml:4: field mode stands here twice"),
    "no ports": (
        "genevePorts: []\n",
        "agent.yaml:3: field genevePorts: there must be at least one",
    ),
    "port out of range": ("genevePorts: [70000]\n", "70000 is not a UDP port"),
    "ports not a list": ("genevePorts: 6081\n", "expected a list of whole numbers"),
    "port with an underscore": ("genevePorts: [6_081]\n", "in decimal, found '6_081'"),
    "port in octal": ("genevePorts: [010]\n", "in decimal, found '010'"),
    "port in hexadecimal": ("genevePorts: [0x17c1]\n", "in decimal, found '0x17c1'"),
    "port with a plus": ("genevePorts: [+6081]\n", "in decimal, found '+6081'"),
    "port as text": ("genevePorts: [a]\n", "expected a list of whole numbers"),
    "relative path": ("stateDir: var\n", "agent.yaml:3: field stateDir: 'var' is not an absolute"),
    "plain http": ("operator: {url: 'http://op'}\n", "does not begin with https://"),
    "other OVSDB remote": ("ovsdb: /run/db.sock\n", "does not begin with unix:/ or tcp: or ssl:"),
    "other VICI remote": ("vici: tcp://127.0.0.1\n", "does not begin with unix:///"),
    "impossible name": ("chassis: '%any'\n", "'%any' cannot be a chassis name"),
    "section that is none": ("operator: x\n", "agent.yaml:3: field operator: expected fields"),
    "not YAML": ("mode: [Full\n", "not YAML"),
}


@pytest.mark.parametrize(("text", "complaint"), MISTAKES.values(), ids=MISTAKES.keys())
def test_each_mistake_is_named_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert complaint in caught.value.render()
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the file is empty"),
        ("- a\n", "a.yaml:1: expected fields at the top"),
        ("kind: AgentConfig\n", "field apiVersion: it is missing"),
        ("apiVersion: v1\nkind: AgentConfig\n", "expected geneveil.io/v1alpha1, found v1"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2: not YAML"),
        ("a: !!python/object:os.system x\n", "apiVersion: it is missing"),
    ],
)
def test_a_file_that_is_something_else_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_agent_config(text, "a.yaml")
    assert complaint in caught.value.render()


def test_an_empty_value_counts_as_not_written() -> None:
    assert parse("chassis:\noperator:\n") == AgentConfig()


def test_a_mode_without_a_value_is_refused() -> None:
    """Nobody knows what was meant, and Disabled would leave the node open."""
    with pytest.raises(ConfigError, match=r"field mode: it has no value") as caught:
        parse("mode:\n")
    assert "Disabled or Full" in caught.value.remedy


def test_numbers_and_booleans_are_not_taken_for_text() -> None:
    with pytest.raises(ConfigError, match="expected a text"):
        parse("chassis: 17\n")
    section = parse_yaml("a: 'yes'\n", "f")
    with pytest.raises(ConfigError, match="expected true or false"):
        section.boolean("a")


def test_the_ports_of_file_and_cluster_are_guarded_together() -> None:
    config = AgentConfig(geneve_ports=(7000,))
    assert guarded_ports(config, None) == (7000,)
    assert guarded_ports(config, ClusterSettings(geneve_ports=(6081,))) == (6081, 7000)
