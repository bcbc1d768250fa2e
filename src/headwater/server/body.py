"""Request bodies: read, bounded while they arrive, decoded.

The cost of a JSON body is that of its structure, not of its bytes: a list of two bytes takes 56 in
memory, a long string takes its length. So the structure has a bound of its own, counted on the
bytes of each piece as it arrives. No turn of the event loop does more work than one piece brings,
and what is decoded at last is cheap to decode.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import accumulate
from typing import Any, Final

import msgspec
from starlette.requests import Request

from headwater.errors import RequestError

# Far beyond any schema of a tool, far below what encoding the request again has stack for.
_MAX_DEPTH: Final = 128
# Ten thousand messages of several parts have less; decoding as many takes 10 ms.
_MAX_CONTAINERS: Final = 100_000
# JSON outside long strings: decoding as much takes 40 ms at the worst, with floats of 700 digits.
_MAX_STRUCTURE: Final = 1024 * 1024
# A string is decoded by copying. From this length on its bytes beyond cost next to nothing.
_LONG_STRING: Final = 1024

_BRACKETS: Final = b"[{]}"
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(_BRACKETS))
# As signed bytes: an opening bracket is one level deeper, a closing one a level less deep.
_LEVELS: Final = bytes.maketrans(_BRACKETS, b"\x01\x01\xff\xff")


class JsonBounds:
    """Bounds the depth, the containers and the structure of a JSON text that comes in pieces.

    Counts without decoding. Of a text that is not JSON it counts up to the first error what a
    decoder would, and decoders stop there.
    """

    def __init__(self) -> None:
        self._in_string = False
        self._string = 0  # bytes of the string that the last piece ended in
        self._escape = b""  # a backslash that the last piece ended with
        self._depth = 0
        self._containers = 0
        self._structure = 0

    def feed(self, piece: bytes) -> None:
        """Count one piece; `RequestError` when a bound is exceeded."""
        piece = self._unescaped(piece)
        texts = piece.split(b'"')
        inside = texts[not self._in_string :: 2]
        outside = texts[self._in_string :: 2]
        self._count_strings(inside, continues=self._in_string)
        self._in_string ^= len(texts) % 2 == 0
        if self._in_string and len(texts) > 1:
            self._string = len(texts[-1])
        structure = b"".join(outside)
        self._structure += len(structure) + len(texts) - 1
        if self._structure > _MAX_STRUCTURE:
            raise RequestError(
                f"The body has more than {_MAX_STRUCTURE} bytes of JSON besides the text of its "
                "long strings.",
                code="too_large",
            )
        self._count_containers(structure.translate(None, _NOT_BRACKETS))

    def _unescaped(self, piece: bytes) -> bytes:
        """The piece without escaped quotes, so that each `"` in it begins or ends a string."""
        piece = self._escape + piece
        self._escape = b""
        if b"\\" not in piece:
            return piece
        piece = piece.replace(b"\\\\", b"..")
        if piece.endswith(b"\\"):
            self._escape, piece = b"\\", piece[:-1]
        return piece.replace(b'\\"', b"..")

    def _count_strings(self, strings: list[bytes], *, continues: bool) -> None:
        """Count of each string what is not beyond the length of a long one."""
        if continues:
            before, self._string = self._string, self._string + len(strings[0])
            self._structure += min(self._string, _LONG_STRING) - min(before, _LONG_STRING)
            strings = strings[1:]
        self._structure += sum([min(len(string), _LONG_STRING) for string in strings])

    def _count_containers(self, brackets: bytes) -> None:
        if not brackets:
            return
        levels = memoryview(brackets.translate(_LEVELS)).cast("b")
        depths = list(accumulate(levels, initial=self._depth))
        self._depth = depths[-1]
        if max(depths) > _MAX_DEPTH:
            raise _too_deep()
        self._containers += brackets.count(b"[") + brackets.count(b"{")
        if self._containers > _MAX_CONTAINERS:
            raise RequestError(
                f"The body has more than {_MAX_CONTAINERS} objects and lists.", code="too_large"
            )


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
        raise _too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestError(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise RequestError("The body must be a JSON object.")
    return value


def _too_deep() -> RequestError:
    return RequestError(f"The body is nested too deeply: {_MAX_DEPTH} levels are the most.")


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(
        f"The body is larger than {max_bytes} bytes (server.max_body_bytes).", code="too_large"
    )
