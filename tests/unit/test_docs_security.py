"""What the documents say is shown by a test, or by a scenario, names one that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
THREAT_MODEL = ROOT / "docs" / "security.md"
_TEST = re.compile(r"`(test_\w+)`")
_SCENARIO = re.compile(r"`(\w+)` \(scenario\)|scenario `(\w+)`")


def named_tests(text: str) -> set[str]:
    return set(_TEST.findall(text))


def named_scenarios(text: str) -> set[str]:
    return {one or other for one, other in _SCENARIO.findall(text)}


def test_the_threat_model_names_what_shows_its_lines() -> None:
    text = THREAT_MODEL.read_text()
    assert len(named_tests(text)) > 30
    assert named_scenarios(text) >= {"node_revoked", "wire_cut"}
    assert named_scenarios("`a_b` (scenario), scenario `c_d`") == {"a_b", "c_d"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_and_scenario_that_a_document_names_exists(document: Path) -> None:
    sources = list((ROOT / "tests").rglob("test_*.py"))
    written = {
        name
        for path in sources
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    modules = {path.stem for path in sources}
    scenarios = {path.parent.name for path in (ROOT / "lab" / "scenarios").glob("*/scenario.py")}
    text = document.read_text()
    missing = sorted(named_tests(text) - written - modules)
    assert not missing, f"{document.name} names tests that are not there: {', '.join(missing)}"
    unknown = sorted(named_scenarios(text) - scenarios)
    assert not unknown, f"{document.name} names scenarios that are not there: {', '.join(unknown)}"
