"""docs/reliability.md's table: written by the faults that were played, and by nothing else.

A record is a JSON file with one row a fault and control plane; playing a fault again replaces its
row. The tables stand between two marks in the Markdown file beside it, Kubernetes' own below.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.control_plane import KUBERNETES, STANDALONE
from lab.errors import LabError
from lab.fault import UDP_A_SECOND
from lab.fault_rules import FaultOutcome

BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


Key = tuple[str, str]


def fault_row(
    situation: str, outcome: FaultOutcome, control_plane: str = STANDALONE
) -> dict[str, Any]:
    """One fault's figures, as they were seen."""
    untouched, touched = outcome.untouched, outcome.touched
    named = sorted({code for found in outcome.named.values() for code in found})
    return {
        "fault": outcome.fault.name,
        "title": outcome.fault.title,
        "situation": situation,
        "control_plane": control_plane,
        "clear_frames": outcome.clear_frames,
        "sent_packets": sum(loss.sent_packets for loss in outcome.losses),
        "udp_a_second": outcome.udp_a_second,
        "asked_udp_a_second": UDP_A_SECOND,
        "untouched_pairs": len(untouched),
        "lost_untouched": sum(loss.lost_packets for loss in untouched),
        "touched_pairs": len(touched),
        "lost_touched": sum(loss.lost_packets for loss in touched),
        "outage_seconds": round(outcome.outage_seconds, 2),
        "recovery_seconds": round(outcome.recovery_seconds, 2),
        "named": named,
        "broken": list(outcome.broken),
    }


def merge_row(record: Path, row: dict[str, Any]) -> None:
    """Put a row into the record, and write the table anew where there is a place for it."""
    rows = read_rows(record)
    rows[_key(row)] = row
    record.parent.mkdir(parents=True, exist_ok=True)
    ordered = sorted(rows.values(), key=lambda r: (r["situation"], *_key(r)))
    record.write_text(json.dumps(ordered, indent=1) + "\n")
    page = record.with_suffix(".md")
    if page.exists():
        page.write_text(with_table(page.read_text(), fault_tables(ordered)))


def read_rows(record: Path) -> dict[Key, dict[str, Any]]:
    """The rows of a record by fault and control plane; none where there is no such file."""
    if not record.exists():
        return {}
    return {_key(row): row for row in json.loads(record.read_text())}


def _key(row: dict[str, Any]) -> Key:
    # rows of before there was a choice say nothing of it
    return row["fault"], row.get("control_plane", STANDALONE)


def fault_tables(rows: Sequence[dict[str, Any]]) -> str:
    """A table of the standalone operator's, and one of what was played on Kubernetes."""
    on_kubernetes = [row for row in rows if _key(row)[1] == KUBERNETES]
    text = fault_table(row for row in rows if _key(row)[1] != KUBERNETES)
    return text + ("\nOn Kubernetes:\n\n" + fault_table(on_kubernetes) if on_kubernetes else "")


def fault_table(rows: Iterable[dict[str, Any]]) -> str:
    """A Markdown table, one row a fault."""
    lines = [
        "| fault | Geneve frames in clear | lost, untouched pairs | lost, touched pairs "
        "| longest outage | recovered after | packets a second and pair |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = ["–", "–", "–"]
        if row["touched_pairs"]:
            cells = [
                str(row["lost_touched"]),
                f"{row['outage_seconds']:.2f} s",
                f"{row['recovery_seconds']:.2f} s",
            ]
        untouched = str(row["lost_untouched"]) if row["untouched_pairs"] else "–"
        title = row["title"] + (" (**rules broken**)" if row["broken"] else "")
        lines.append(
            f"| {title} | {row['clear_frames']} | {untouched} | {' | '.join(cells)} "
            f"| {_rate(row)} |"
        )
    return "\n".join(lines) + "\n"


def _rate(row: Mapping[str, Any]) -> str:
    # rows of before it was measured have what was asked for
    rate = row["udp_a_second"]
    return f"{rate}" if "asked_udp_a_second" in row else f"({rate})"


def with_table(page: str, table: str) -> str:
    """The page with this table between its marks.

    Raises:
        LabError: the page has no marks.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise LabError(f"the page has no {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{table}{END}{tail}"
