"""What is the same whatever the host: heads, errors, and the browser's client."""

from __future__ import annotations

import math
import secrets
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import msgspec

from headwater.errors import HeadwaterError
from headwater.requests.repeats import NothingToResumeError
from headwater.wires.base import Wire

#: The folder of what is built for browsers.
PLAYGROUND: Final = Path(str(files("headwater.playground")))

#: The client, and its parts that only some pages want; they import each other by these names.
SCRIPTS: Final = ("headwater.js", "headwater-tabs.js", "headwater-element.js")

JSON_HEADERS: Final = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


def stream_headers(wire: Wire[Any]) -> dict[str, str]:
    """Headers of a stream. Proxies buffer, compress and cache unless they are told not to."""
    return {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Cache-Control": "no-store, no-transform",
        "X-Accel-Buffering": "no",
        "X-Content-Type-Options": "nosniff",
        **wire.headers,
    }


def error_headers(error: HeadwaterError, request_id: str) -> dict[str, str]:
    """Headers of an error."""
    headers = {**JSON_HEADERS, "X-Request-Id": request_id}
    if error.retry_after is not None:
        headers["Retry-After"] = str(
            max(1, math.ceil(error.retry_after))
        )  # whole seconds, not too few
    return headers


def error_answer(
    wire: Wire[Any], error: HeadwaterError, request_id: str
) -> tuple[bytes, int, dict[str, str]]:
    """An error before the head, in the wire's own shape: its body, status and headers."""
    if isinstance(error, NothingToResumeError):
        return error.frames, 200, {**stream_headers(wire), "X-Request-Id": request_id}
    body = msgspec.json.encode(wire.error(error, request_id))
    return body, error.status, error_headers(error, request_id)


def make_request_id() -> str:
    """An id for a request that came without one."""
    return f"req_{secrets.token_hex(12)}"
