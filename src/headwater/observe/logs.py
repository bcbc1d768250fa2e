"""The log of `headwater serve`: a line an entry, as text or as JSON, with the request's id.

Prompts and answers are in no entry, and neither are the secrets of this process. What came from
outside begins no line and no field of its own.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import textwrap
from contextvars import Context, ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Literal

from headwater.observe.shown import printable, printable_json, redact

#: The id of the request that is being handled; "" outside of one.
request_id: Final[ContextVar[str]] = ContextVar("headwater_request_id", default="")

Format = Literal["text", "json"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


# A value that needs no quotes to be told from what follows it.
_PLAIN: Final = re.compile(r'[^\s"=\\]+')


def configure(form: Format, level: str) -> None:
    """Write Headwater's entries of `level` and above to stderr, and uvicorn's warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logger = logging.getLogger("headwater")
    logger.handlers = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    host = logging.getLogger("uvicorn")
    host.handlers = [handler]
    host.setLevel("WARNING")
    host.propagate = False


def without_request() -> Context:
    """A context for work that serves many requests: its entries carry the id of none of them."""
    return Context()


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    """What the entry says beside its message, and whose request it is about."""
    extras = {k: v for k, v in vars(record).items() if k not in _STANDARD and v is not None}
    if current := request_id.get():
        extras.setdefault("request_id", current)
    return extras


class TextFormatter(logging.Formatter):
    """`time level logger message  key=value …`: a text with a space in it is quoted as in JSON."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        message = record.getMessage()
        if "=" in message or '"' in message:  # else it could be read as having fields
            message = _quoted(message)
        line = f"{at} {record.levelname.lower()} {record.name} {printable(message)}"
        for key, value in _extras(record).items():
            text = str(value)
            line += f" {key}={text if _PLAIN.fullmatch(text) else _quoted(text)}"
        line = printable(redact(line))
        if record.exc_info:
            trace = printable(redact(self.formatException(record.exc_info)), lines=True)
            line += "\n" + textwrap.indent(trace, "  ")
        return line


def _quoted(text: str) -> str:
    return printable_json(json.dumps(text, ensure_ascii=False))


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
        return redact(json.dumps(entry, default=str))
