"""Messages to bytes.

LF is the only line ending written: CRLF breaks AG-UI's parser.
"""

from __future__ import annotations

import re
from typing import Final

# Not str.splitlines(): that also splits at U+2028, U+0085 and others, which are data in SSE.
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_FORBIDDEN: Final = re.compile(r"[\r\n\0]")


def encode(
    data: str | bytes, *, event: str | None = None, id: str | None = None, retry: int | None = None
) -> bytes:
    """One event as bytes, blank line included.

    `retry` is in milliseconds. `ValueError` when `event` or `id` holds CR, LF or NUL: stripping
    them would let whoever chose the value write fields of its own.
    """
    lines: list[bytes] = []
    if id is not None:
        lines.append(b"id: " + _field(id, "id"))
    if event is not None:
        lines.append(b"event: " + _field(event, "event"))
    if retry is not None:
        if retry < 0:
            raise ValueError(f"retry must not be negative: {retry}")
        lines.append(b"retry: %d" % retry)
    raw = data.encode() if isinstance(data, str) else data
    lines += [b"data: " + line for line in _LINE_END.split(raw)]
    return b"\n".join(lines) + b"\n\n"


def encode_comment(text: str) -> bytes:
    """A comment line, with no blank line after it.

    A blank line would make fetch-event-source dispatch an empty message, and openai-python fail on
    its JSON.
    """
    return b": " + _field(text, "comment") + b"\n"


def _field(value: str, name: str) -> bytes:
    if _FORBIDDEN.search(value):
        raise ValueError(f"{name} must not contain CR, LF or NUL: {value!r}")
    return value.encode()
