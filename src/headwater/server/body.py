"""Request bodies: read, bounded while they arrive, decoded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request

from headwater.errors import RequestError
from headwater.json_text import UNREADABLE, JsonBounds, too_deep


async def read_body(request: Request, max_bytes: int, bounds: JsonBounds | None = None) -> bytes:
    """The body of `request`, counted by `bounds` while it arrives.

    `RequestError` when it is larger than `max_bytes`, exceeds the bounds, or breaks off.
    """
    body = bytearray()
    async for piece in _pieces(request, max_bytes):
        if bounds is not None:
            bounds.feed(piece)
        body += piece
    return bytes(body)


async def count_body(request: Request, max_bytes: int) -> int:
    """The length of the body of `request`, of which nothing is kept; raises as `read_body`."""
    return sum([len(piece) async for piece in _pieces(request, max_bytes)])


async def _pieces(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    if int(request.headers.get("content-length", "0") or 0) > max_bytes:
        raise _too_large(max_bytes)
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise RequestError("The request broke off.")
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        yield piece
        more = message.get("more_body", False)


def json_object(body: bytes) -> dict[str, Any]:
    """Decode a body that is within `JsonBounds`, whatever its content type: `curl -d` must work.

    `RequestError` when it is not JSON or not an object.
    """
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise too_deep() from None
    except UNREADABLE as error:
        raise RequestError(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise RequestError("The body must be a JSON object.")
    return value


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(
        f"The body is larger than {max_bytes} bytes (server.max_body_bytes).", code="too_large"
    )
