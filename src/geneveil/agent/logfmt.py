"""One line an event on stderr: level, event, then key=value. Pure but for the handler's writing."""

import logging
import re

_PLAIN = re.compile(r"[A-Za-z0-9_./:@+,%-]+")


class LogfmtFormatter(logging.Formatter):
    """Writes `level=info event="..." key=value`; fields come as `extra={"fields": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", {})
        parts = [f"level={record.levelname.lower()}", f"event={_value(record.getMessage(), True)}"]
        parts += [f"{key}={_value(str(value))}" for key, value in fields.items()]
        if record.exc_info:
            parts.append(f"traceback={_value(self.formatException(record.exc_info))}")
        return " ".join(parts)


def set_up_logging(level: int = logging.INFO) -> None:
    """Send everything to stderr in that form."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogfmtFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _value(text: str, always_quoted: bool = False) -> str:
    if not always_quoted and _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
