"""A file of one line beside the database: `{"startedAt": …, "awayAfterSeconds": 600}`.

It is true while the operator that wrote it runs (`io.is_running`). One that can't be written or
read makes `ca status` less exact, and nothing else.
"""

import json
import logging
from datetime import datetime
from pathlib import Path

from geneveil.operator.confirmations import LiveTerms
from geneveil.operator.log_lines import log_line
from geneveil.operator.private_file.io import place_private, stage_private

FILE = "running.json"

_log = logging.getLogger(__name__)


def write_run_note(directory: Path, terms: LiveTerms) -> None:
    """Say how this run tells who is live."""
    started_at = terms.started_at.isoformat() if terms.started_at else None
    note = {"startedAt": started_at, "awayAfterSeconds": terms.away_after_seconds}
    try:
        stage_private(directory / FILE, json.dumps(note).encode() + b"\n")
        place_private(directory / FILE)
    except OSError as error:
        _log.warning(log_line("run-note-not-written", why=str(error)))


def read_run_note(directory: Path) -> LiveTerms:
    """How the operator that runs here tells who is live; the defaults if it does not say."""
    try:
        note = json.loads((directory / FILE).read_bytes())
        started_at = datetime.fromisoformat(note["startedAt"])
        return LiveTerms(float(note["awayAfterSeconds"]), started_at)
    except (OSError, ValueError, KeyError, TypeError):
        return LiveTerms()
