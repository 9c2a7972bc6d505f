"""The configuration file: every mistake gets a line, a field and a reason; all of them at once."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from geneveil.model.cluster import CalendarSpan, ClusterSettings, Encapsulation, KeyType, Mode
from geneveil.model.errors import ConfigError
from geneveil.operator.config import ClusterIPsec, json_schema, to_settings
from geneveil.operator.config_check import parse_config

SCHEMA_FILE = Path(__file__).parents[2] / "docs/schema/clusteripsec.schema.json"

HEAD = "apiVersion: geneveil.io/v1alpha1\nkind: ClusterIPsec\nmetadata:\n  name: prod\n"
WHOLE = (
    HEAD
    + """spec:
  mode: Full
  encapsulation: Always
  genevePorts: [6082, 6081]
  certificates:
    keyType: RSA-3072
    caLifetime: 30d
    nodeLifetime: 2d
    renewAfter: 1d
  operator:
    listen: "[::]:9443"
    names: [central, 192.0.2.10, "2001:db8::1"]
"""
)


def parse(text: str) -> ClusterIPsec:
    return parse_config(text, "cluster.yaml")


def test_defaults_are_the_figures_of_the_reference() -> None:
    assert to_settings(parse(HEAD)) == ClusterSettings(name="prod")
    policy = to_settings(parse(HEAD)).certificates
    assert (policy.ca_lifetime, policy.node_lifetime, policy.renew_after) == (
        CalendarSpan(120),
        CalendarSpan(60),
        CalendarSpan(54),
    )


def test_everything_can_be_said() -> None:
    settings = to_settings(parse(WHOLE))
    assert settings.mode is Mode.FULL
    assert settings.encapsulation is Encapsulation.ALWAYS
    assert settings.geneve_ports == (6081, 6082)
    assert settings.certificates.key_type is KeyType.RSA_3072
    assert settings.certificates.node_lifetime == CalendarSpan(0, 2)


def spec(lines: str) -> str:
    return HEAD + "spec:\n" + lines


WRONG = {
    "unknown field": (
        spec("  mode: Full\n  encapsulaton: Auto\n"),
        ["cluster.yaml:7: spec.encapsulaton: unknown field; did you mean encapsulation?"],
    ),
    "unknown field far from any": (
        spec("  colour: red\n"),
        [
            "cluster.yaml:6: spec.colour: unknown field; known are mode, encapsulation, "
            "genevePorts, certificates, operator"
        ],
    ),
    "unknown deep field": (
        spec("  certificates:\n    keyTipe: RSA-3072\n"),
        ["cluster.yaml:7: spec.certificates.keyTipe: unknown field; did you mean keyType?"],
    ),
    "snake case is another field": (
        spec("  geneve_ports: [6081]\n"),
        ["cluster.yaml:6: spec.geneve_ports: unknown field; did you mean genevePorts?"],
    ),
    "off is false": (
        spec("  mode: off\n"),
        [
            "cluster.yaml:6: spec.mode: must be 'Disabled' or 'Full', not False "
            "(YAML reads on, off, yes and no as true and false)"
        ],
    ),
    "unknown mode": (
        spec("  mode: External\n"),
        ["cluster.yaml:6: spec.mode: must be 'Disabled' or 'Full', not 'External'"],
    ),
    "port is text": (
        spec('  genevePorts: ["6081"]\n'),
        ["cluster.yaml:6: spec.genevePorts.0: must be a whole number, not '6081'"],
    ),
    "port is truth": (
        spec("  genevePorts: [true]\n"),
        ["cluster.yaml:6: spec.genevePorts.0: must be a whole number, not True"],
    ),
    "port too large": (
        spec("  genevePorts:\n    - 6081\n    - 65536\n"),
        ["cluster.yaml:8: spec.genevePorts.1: must be at most 65535, not 65536"],
    ),
    "no ports": (
        spec("  genevePorts: []\n"),
        ["cluster.yaml:6: spec.genevePorts: must have at least 1 item, not ()"],
    ),
    "a port twice": (
        spec("  genevePorts: [6081, 6081]\n"),
        ["cluster.yaml:6: spec.genevePorts: a port stands in it twice"],
    ),
    "ports are no list": (
        spec("  genevePorts: 6081\n"),
        ["cluster.yaml:6: spec.genevePorts: must be a list, not 6081"],
    ),
    "no span": (
        spec("  certificates:\n    caLifetime: ten years\n"),
        [
            "cluster.yaml:7: spec.certificates.caLifetime: must be a span such as 10y, 54mo, "
            "4y6mo or 30d, not 'ten years'"
        ],
    ),
    "a span of nothing": (
        spec("  certificates:\n    caLifetime: 0y\n"),
        [
            "cluster.yaml:7: spec.certificates.caLifetime: '0y' is not a span such as 10y, "
            "54mo, 4y6mo or 30d"
        ],
    ),
    "a span without end": (
        spec("  certificates:\n    caLifetime: 9999y\n"),
        ["cluster.yaml:7: spec.certificates.caLifetime: must be less than 100y"],
    ),
    "renewal after the end": (
        spec("  certificates:\n    renewAfter: 5y\n"),
        [
            "cluster.yaml:6: spec.certificates: renewAfter (5y) must end before nodeLifetime "
            "(5y), or certificates would end before they are replaced"
        ],
    ),
    "nodes outlive the authority": (
        spec("  certificates:\n    nodeLifetime: 10y\n"),
        [
            "cluster.yaml:6: spec.certificates: nodeLifetime (10y) must be shorter than "
            "caLifetime (10y), or certificates would outlive their authority"
        ],
    ),
    "no port to listen on": (
        spec("  operator:\n    listen: 192.0.2.10\n"),
        [
            "cluster.yaml:7: spec.operator.listen: must be an address and a port such as "
            "0.0.0.0:9443 or [::]:9443, not '192.0.2.10'"
        ],
    ),
    "too large a port to listen on": (
        spec("  operator:\n    listen: 0.0.0.0:65536\n"),
        ["cluster.yaml:7: spec.operator.listen: port 65536 is not between 0 and 65535"],
    ),
    "no IPv6 address": (
        spec('  operator:\n    listen: "[::::]:1"\n'),
        ["cluster.yaml:7: spec.operator.listen: [::::] is no IPv6 address"],
    ),
    "no name": (
        spec("  operator:\n    names: [a b]\n"),
        ["cluster.yaml:7: spec.operator.names.0: 'a b' is neither a host name nor an IP address"],
    ),
    "empty section": (
        spec(""),
        ["cluster.yaml:5: spec: must be a mapping of fields, not nothing"],
    ),
    "name in capitals": (
        HEAD.replace("prod", "Prod"),
        [
            "cluster.yaml:4: metadata.name: must be 1 to 63 of a-z, 0-9 and hyphens, beginning "
            "and ending with no hyphen, not 'Prod'"
        ],
    ),
    "name missing": (
        "apiVersion: geneveil.io/v1alpha1\nkind: ClusterIPsec\nmetadata: {}\n",
        ["cluster.yaml:3: metadata.name: is missing"],
    ),
    "another kind": (
        HEAD.replace("ClusterIPsec", "Pod"),
        ["cluster.yaml:2: kind: must be 'ClusterIPsec', not 'Pod'"],
    ),
    "another version": (
        HEAD.replace("v1alpha1", "v2"),
        ["cluster.yaml:1: apiVersion: must be 'geneveil.io/v1alpha1', not 'geneveil.io/v2'"],
    ),
    "several mistakes": (
        spec("  mode: Maybe\n  encapsulaton: Auto\n  genevePorts: [0, x]\n"),
        [
            "cluster.yaml:6: spec.mode: must be 'Disabled' or 'Full', not 'Maybe'",
            "cluster.yaml:7: spec.encapsulaton: unknown field; did you mean encapsulation?",
            "cluster.yaml:8: spec.genevePorts.0: must be at least 1, not 0",
            "cluster.yaml:8: spec.genevePorts.1: must be a whole number, not 'x'",
        ],
    ),
    "a field twice": (HEAD + "kind: ClusterIPsec\n", ["cluster.yaml:5: kind stands twice"]),
    "not YAML": (
        HEAD + "spec: {mode: [\n",
        ["cluster.yaml:6: not YAML: expected the node content, but found '<stream end>'"],
    ),
    "two documents": (
        HEAD + "---\n" + HEAD,
        ["cluster.yaml:5: not YAML: but found another document"],
    ),
    "a list": ("- a\n", ["cluster.yaml:1: expected a mapping that begins with apiVersion"]),
    "nothing": ("", ["cluster.yaml:1: expected a mapping that begins with apiVersion"]),
    "an alias": (
        "metadata: &m {name: x}\nspec: *m\n",
        ["cluster.yaml:2: YAML aliases are not accepted"],
    ),
    "a number as a field": ("1: x\n", ["cluster.yaml:1: a field's name must be text"]),
    "a program": (
        HEAD + "spec: !!python/object/apply:os.getcwd []\n",
        [
            "cluster.yaml:5: spec: must be a mapping of fields, not ()",
        ],
    ),
    "too large": ("#" * 70_000, ["cluster.yaml is larger than 64 KiB"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes(case: str) -> None:
    text, lines = WRONG[case]
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.render().splitlines() == lines
    assert caught.value.exit_status != 0


def test_the_published_schema_is_the_one_in_use() -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == json_schema()


def test_the_published_schema_accepts_and_refuses_the_same() -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert validator.is_valid(yaml.safe_load(WHOLE))
    assert validator.is_valid(yaml.safe_load(HEAD))
    for case in ("unknown field", "off is false", "port is text", "port too large", "no span"):
        assert not validator.is_valid(yaml.safe_load(WRONG[case][0])), case


@pytest.mark.parametrize(
    ("certificates", "words"),
    [
        ("{caRotateAfter: 6y}", "together must not be longer than caLifetime"),
        ("{caRotateAfter: 5y, nodeLifetime: 5y1d}", "together must not be longer"),
        ("{rolloverWave: 200d}", "must be shorter than the time from renewAfter"),
        ("{rolloverWave: 1y}", "must be a time such as"),
    ],
)
def test_roll_over_settings_that_contradict_others(certificates: str, words: str) -> None:
    text = (
        "apiVersion: geneveil.io/v1alpha1\nkind: ClusterIPsec\nmetadata: {name: prod}\n"
        f"spec: {{certificates: {certificates}}}\n"
    )
    with pytest.raises(ConfigError, match=words):
        parse_config(text, "cluster.yaml")


@pytest.mark.parametrize("certificates", ["{caRotateAfter: 5y}", "{rolloverWave: 6h}"])
def test_roll_over_settings_that_agree(certificates: str) -> None:
    text = (
        "apiVersion: geneveil.io/v1alpha1\nkind: ClusterIPsec\nmetadata: {name: prod}\n"
        f"spec: {{certificates: {certificates}}}\n"
    )
    parse_config(text, "cluster.yaml")
