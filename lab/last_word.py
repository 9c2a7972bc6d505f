"""What the witness saw until the end, asked when the cluster is down.

While guests run nobody knows what they will still send, nor how many frames found no room in the
witness's buffer: tcpdump tells when it ends. Fails closed: a witness that does not say what it
missed is an error.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.capture_slice import count_frames
from lab.errors import LabError
from lab.intruder import GENEVE_IN_CLEAR
from lab.stage import Stage
from lab.supervisor import WITNESS_FILE
from lab.testimony import parse_witness_report

_COUNT_SECONDS = 600.0


def judge_last_word(testimony: Mapping[str, Any], clear_frames: int, controls: int) -> list[str]:
    """What is wrong with the whole capture, as sentences; empty if nothing is.

    Args:
        testimony: what the supervisor wrote when it ended.
        clear_frames: Geneve in clear in the whole capture, control frames with it.
        controls: how many control frames were put on the wire.
    Raises:
        LabError: tcpdump did not say how much it missed.
    """
    wrong = []
    if clear_frames != controls:
        wrong.append(
            f"{clear_frames} Geneve frames in clear until the last guest had halted, of which "
            f"{controls} are controls"
        )
    ended_at = datetime.fromtimestamp(float(testimony["stopped_at"]), UTC)
    report = parse_witness_report(str(testimony["report"]), ended_at)
    if report.dropped_frames:
        wrong.append(
            f"the witness missed {report.dropped_frames} frames and saw {report.captured_frames}"
        )
    if testimony["started_at"] > min(testimony["booted_at"].values()):
        wrong.append("a guest booted before the witness watched")
    if testimony["stopped_at"] < max(testimony["halted_at"].values()):
        wrong.append("the witness stopped before the last guest had halted")
    return wrong


def check_last_word(stage: Stage) -> None:
    """Judge the capture of a cluster that is down.

    Raises:
        LabError: something was in clear, the witness missed something, or nobody knows.
    """
    layout = stage.running.layout
    path = Path(layout.data_dir, WITNESS_FILE)
    try:
        testimony = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise LabError("the witness left no testimony", why=str(error)) from error
    clear = count_frames(layout.capture, GENEVE_IN_CLEAR, _COUNT_SECONDS)
    if wrong := judge_last_word(testimony, clear, stage.controls):
        raise LabError("the witness's last word", why="; ".join(wrong), remedy=f"{layout.capture}")
