"""Evidence is read back as it was written, and refused with the field that is wrong."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from geneveil.verify.errors import EvidenceError
from geneveil.verify.evidence import Evidence
from geneveil.verify.flows import FlowKind, Phase, Protocol, required_variants
from geneveil.verify.marks import MARK_MAGIC, find_marks, make_mark
from geneveil.verify.report import evidence_schema
from tests.synthetic_lab import evidence_of, record

SCHEMAS = Path(__file__).parents[2] / "docs" / "schema"


def sample() -> Evidence:
    return evidence_of(record(Phase.DISABLED), record(Phase.ENABLED))


def test_written_and_read_back() -> None:
    evidence = sample()
    assert Evidence.from_json(evidence.to_json()) == evidence


def test_the_published_schema_is_what_the_classes_say() -> None:
    published = json.loads((SCHEMAS / "evidence.schema.json").read_text())
    assert published == evidence_schema()
    Draft202012Validator.check_schema(published)
    Draft202012Validator(published).validate(json.loads(sample().to_json()))


def test_a_matrix_of_three_nodes() -> None:
    # 4 kinds over 6 ordered pairs and 1 over 3 nodes; 3 protocols, 2 sizes, 2 directions.
    assert len(set(required_variants(["a", "b", "c"]))) == (4 * 6 + 3) * 12


def phase_of(value: dict[str, Any]) -> Any:
    return value["phases"][1]


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda v: v.update(extra=1), "evidence.json.extra: there is no such field"),
        (lambda v: v.pop("cluster"), "evidence.json.cluster: the field is missing"),
        (lambda v: v.update(schema_version=1), "schema_version is 1, not 2"),
        (lambda v: v["phases"].pop(), "phases must be one disabled and one enabled"),
        (
            lambda v: phase_of(v).update(frames_dropped="0"),
            "phases[1].frames_dropped: expected a whole number, found '0'",
        ),
        (
            lambda v: phase_of(v)["probes"][3].update(mark="F5"),
            "phases[1].probes[3].mark: expected bytes in lower-case hex",
        ),
        (lambda v: phase_of(v)["probes"][3].update(mark="00" * 16), "a mark is 16 bytes"),
        (
            lambda v: phase_of(v)["probes"][3].update(kind="pod to moon"),
            "phases[1].probes[3].kind: expected one of",
        ),
        (
            lambda v: v["versions"].update({"Linux": "6.12\x1b[2JPASS"}),
            "evidence.json.versions.Linux: expected text without control characters, found",
        ),
        (
            lambda v: v["versions"].update({"Li\x9bnux": "6.12"}),
            "evidence.json.versions: expected text without control characters, found",
        ),
        (
            lambda v: phase_of(v)["probes"][3].update(received_by=[1]),
            "received_by[0]: expected text, found 1",
        ),
        (
            lambda v: phase_of(v).update(first_boot_at="2026-11-23T12:00:00"),
            "first_boot_at: expected a time with its offset",
        ),
        (
            lambda v: phase_of(v).update(first_boot_at="noon"),
            "first_boot_at: expected a time in ISO 8601",
        ),
        (
            lambda v: phase_of(v)["probes"][0]["source"].update(name="node2-host"),
            "node2-host is on node1 and on node2",
        ),
        (lambda v: phase_of(v).update(nodes={}), "nodes: expected a list, found {}"),
        (lambda v: phase_of(v)["nodes"].append([]), "nodes[2]: expected an object, found []"),
        (lambda v: v.update(versions=[]), "versions: expected an object"),
        (lambda v: phase_of(v).update(geneve_ports=[]), "geneve_ports is empty"),
        (
            lambda v: phase_of(v)["nodes"].append(phase_of(v)["nodes"][0]),
            "two nodes are called node1",
        ),
        (
            lambda v: phase_of(v)["nodes"][0].update(underlay_addresses=["192.0.2.12"]),
            "nodes node1 and node2 both have 192.0.2.12",
        ),
        (
            lambda v: phase_of(v)["nodes"][0].update(underlay_addresses=["node1"]),
            "does not appear to be an IPv4 or IPv6 address",
        ),
        (
            lambda v: phase_of(v)["nodes"][0].update(underlay_addresses=[]),
            "node node1 has no underlay address",
        ),
        (
            lambda v: phase_of(v)["probes"][0]["source"].update(node="node9"),
            "names node node9, which is not listed",
        ),
        (
            lambda v: phase_of(v)["probes"][0].update(id=phase_of(v)["probes"][1]["id"]),
            "two probes are called",
        ),
        (
            lambda v: phase_of(v)["probes"][0].update(mark=phase_of(v)["probes"][1]["mark"]),
            "have one mark",
        ),
    ],
)
def test_what_is_wrong_is_named(spoil: Callable[[dict[str, Any]], Any], complaint: str) -> None:
    value = json.loads(sample().to_json())
    spoil(value)
    with pytest.raises(EvidenceError) as caught:
        Evidence.from_json(json.dumps(value))
    assert complaint in caught.value.render()


def test_text_that_is_not_json() -> None:
    with pytest.raises(EvidenceError, match=r"evidence\.json is not JSON.*line 2"):
        Evidence.from_json('{\n"a"')


def test_a_reply_to_a_udp_probe_needs_its_own_mark() -> None:
    recording = record(Phase.ENABLED)
    request = recording.probe(protocol=Protocol.UDP)
    reply = replace(request, id="its reply", kind=FlowKind.HOST_TO_POD)
    with pytest.raises(ValueError, match="have one mark"):
        replace(recording.evidence, probes=(request, reply))


def test_marks() -> None:
    mark = make_mark(b"a run's seed", "probe 1")
    assert mark.startswith(MARK_MAGIC)
    assert len(mark) == 16
    assert mark == make_mark(b"a run's seed", "probe 1")
    assert mark != make_mark(b"another seed", "probe 1")
    with pytest.raises(ValueError, match="8 bytes"):
        make_mark(b"short", "probe 1")


@pytest.mark.parametrize("begin", range(16))
def test_a_repeated_mark_is_found_wherever_it_begins(begin: int) -> None:
    mark = make_mark(b"a run's seed", "probe 1")
    assert find_marks((mark * 4)[begin : begin + 31]) == {mark}
    assert find_marks(mark[:15]) == frozenset()
    newlines = MARK_MAGIC + b"\n" * 12
    assert find_marks(b"x" + newlines) == {newlines}
