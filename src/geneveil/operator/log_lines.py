"""Log lines: `level=info event="listening" address="0.0.0.0:9443"`, one each, on stderr."""

import json
import logging
import sys


def log_line(event: str, **fields: str | int) -> str:
    """The part behind the level; text is quoted and escaped as JSON does it."""
    parts = [f"{name}={json.dumps(value)}" for name, value in fields.items() if value != ""]
    return " ".join([f"event={json.dumps(event)}", *parts])


def start_logging() -> None:
    """Send this process' log to stderr."""
    logging.addLevelName(logging.WARNING, "WARN")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # every port scan would write a trace of a failed handshake
    for noisy in ("asyncio", "aiohttp.server"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if not text.startswith("event="):
            text = log_line("message", text=text, logger=record.name)
        return f"level={record.levelname.lower()} {text}"
