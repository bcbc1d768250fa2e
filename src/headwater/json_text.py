"""JSON texts from outside: their bounds, what decoding them raises, and places within them.

The cost of a JSON text is that of its structure, not of its bytes: a list of two bytes takes 56 in
memory, a long string takes its length. So the structure has a bound of its own, counted on the
bytes of each piece as it arrives. No turn of the event loop does more work than one piece brings,
and what is decoded at last is cheap to decode.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any, Final

import msgspec

from headwater.errors import RequestError

#: What msgspec raises for what is not JSON of the wanted shape: the deepest nesting included.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)

#: Where a value stands: the place of its container, and its name or number in it. A chain, because
#: a path as text would copy the names of all containers for each of their members.
Place = tuple[Any, str | int] | None

_LONGEST_PATH: Final = 100
# Far beyond any schema of a tool, far below what encoding the request again has stack for.
_MAX_DEPTH: Final = 128
# Ten thousand messages of several parts have less; decoding as many takes 10 ms.
_MAX_CONTAINERS: Final = 100_000
# JSON outside long strings: decoding as much takes 40 ms at the worst, with floats of 700 digits.
_MAX_STRUCTURE: Final = 1024 * 1024
# A string is decoded by copying. From this length on its bytes beyond cost next to nothing.
_LONG_STRING: Final = 1024

# A piece is taken apart at its quotes: so many bytes take no more than a few MiB for that.
_PIECE: Final = 64 * 1024

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

    def check(self, text: str) -> None:
        """Count a JSON text of its own, such as one that a string of the body holds.

        It adds to what was counted before. `RequestError` when a bound is exceeded.
        """
        self._in_string, self._string, self._escape, self._depth = False, 0, b"", 0
        data = text.encode(errors="surrogatepass")
        for start in range(0, len(data), _PIECE):
            self.feed(data[start : start + _PIECE])

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
            raise too_deep()
        self._containers += brackets.count(b"[") + brackets.count(b"{")
        if self._containers > _MAX_CONTAINERS:
            raise RequestError(
                f"The body has more than {_MAX_CONTAINERS} objects and lists.", code="too_large"
            )


def read_json(text: str, bounds: JsonBounds | None = None) -> Any:
    """Decode a JSON text. `bounds` has counted other texts that come with it.

    `RequestError` when it exceeds the bounds, one of `UNREADABLE` when it is not JSON.
    """
    (bounds or JsonBounds()).check(text)
    return msgspec.json.decode(text)


def inner_error(where: str, error: RequestError) -> RequestError:
    """The error for a string of a request that holds JSON beyond the bounds."""
    return RequestError(f"{where}: {error.message}", param=where)


def place_name(place: Place) -> str:
    """The path to a place, such as `options.stop[2]`; at most 100 characters."""
    parts: list[str] = []
    while place is not None:
        place, step = place
        parts.append(f"[{step}]" if isinstance(step, int) else f".{step[:_LONGEST_PATH]}")
    return "".join(reversed(parts)).removeprefix(".")[:_LONGEST_PATH]


def too_deep() -> RequestError:
    """The error for a text beyond the depth."""
    return RequestError(f"The body is nested too deeply: {_MAX_DEPTH} levels are the most.")
