"""The threat model's claims name tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_test_that_the_threat_model_names_exists() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 15
    sources = list((ROOT / "tests").rglob("test_*.py"))
    written = {
        name
        for path in sources
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    modules = {path.stem for path in sources}
    missing = sorted(named - written - modules)
    assert not missing, f"docs/security.md names tests that are not there: {', '.join(missing)}"
