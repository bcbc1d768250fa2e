"""The log of `headwater serve`: a line an entry, as text or as JSON, with the request's id.

Prompts and answers are in no entry; keys are in no message that we write.
"""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Literal

#: The id of the request that is being handled; "" outside of one.
request_id: Final[ContextVar[str]] = ContextVar("headwater_request_id", default="")

Format = Literal["text", "json"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(form: Format, level: str) -> None:
    """Write Headwater's entries of `level` and above to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logger = logging.getLogger("headwater")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """What the entry says beside its message, and whose request it is about."""
    extras = {k: v for k, v in vars(record).items() if k not in _STANDARD and v is not None}
    if current := request_id.get():
        extras.setdefault("request_id", current)
    return extras


class TextFormatter(logging.Formatter):
    """`time level logger message  key=value …`"""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = f"{at} {record.levelname.lower()} {record.name} {record.getMessage()}"
        for key, value in _extras(record).items():
            line += f" {key}={value}"
        # An entry is a line: what came from outside begins no other.
        line = line.replace("\r", "\\r").replace("\n", "\\n")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """An object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)
