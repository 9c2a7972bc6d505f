"""The report as JSON: the verdict, with who judged and when. Its schema is published.

docs/schema/report.schema.json is what `report_schema` returns; a test keeps them equal.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from geneveil.verify.codec import decode, encode, json_schema
from geneveil.verify.errors import EvidenceError
from geneveil.verify.evidence import Evidence
from geneveil.verify.verdict import Verdict

REPORT_VERSION = 2
REPORT_SCHEMA_ID = "urn:geneveil:report:2"
EVIDENCE_SCHEMA_ID = "urn:geneveil:evidence:2"


@dataclass(frozen=True)
class Report:
    """A verdict, ready to be kept.

    Attributes:
        schema_version: 2; any change of the schema raises it.
        judged_at: when the evidence was judged.
        judged_by: program and version.
        verdict: what was decided, and on what grounds.
    """

    schema_version: int
    judged_at: datetime
    judged_by: str
    verdict: Verdict

    def to_json(self) -> str:
        """The text of report.json."""
        return json.dumps(encode(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "report.json") -> "Report":
        """Read report.json. Raises EvidenceError naming the field that is wrong."""
        try:
            value = json.loads(text)
        except ValueError as error:
            raise EvidenceError(f"{name} is not JSON", why=str(error)) from error
        return decode(cls, value, name)


def report_schema() -> dict[str, Any]:
    """JSON Schema of report.json."""
    return json_schema(Report, title="geneveil report", identifier=REPORT_SCHEMA_ID)


def evidence_schema() -> dict[str, Any]:
    """JSON Schema of evidence.json."""
    return json_schema(Evidence, title="geneveil evidence", identifier=EVIDENCE_SCHEMA_ID)
