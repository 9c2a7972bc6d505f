"""A file of one line beside the database: `2026-11-24T04:00:00+00:00`.

A mark that is lost, or damaged, is none: the clock is then judged by the authority alone, as at the
very first start. One that cannot be written is old at the next start, which then waits for a day.
"""

import logging
from datetime import datetime
from functools import partial
from pathlib import Path

from geneveil.operator.keeper import ClockMark
from geneveil.operator.log_lines import log_line
from geneveil.operator.private_file.io import place_private, stage_private

FILE = "clock-believed"

_log = logging.getLogger(__name__)


def open_clock_mark(directory: Path) -> ClockMark:
    """The mark in this directory."""
    path = directory / FILE
    return ClockMark(partial(_read, path), partial(_write, path))


def _read(path: Path) -> datetime | None:
    try:
        moment = datetime.fromisoformat(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.warning(log_line("clock-mark-unreadable", file=str(path), why=str(error)))
        return None
    return moment if moment.tzinfo else None


def _write(path: Path, at: datetime) -> None:
    try:
        stage_private(path, f"{at.isoformat(timespec='seconds')}\n".encode("ascii"))
        place_private(path)
    except OSError as error:
        _log.warning(log_line("clock-mark-not-written", file=str(path), why=str(error)))
