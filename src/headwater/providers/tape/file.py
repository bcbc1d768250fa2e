"""A tape as text: JSON lines, `[milliseconds, event]`, times from the request.

Events with one time are what one read brought. `stream-start`, if there is one, is the first line;
the last line, and no other, is the terminal event.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from headwater.errors import STATUS, ConfigurationError
from headwater.events import Event, StreamEnd, StreamError, StreamStart, Unknown

Line = tuple[float, Event]

# A tape that is played is held whole. This is twice what a stream's log may hold unless it is said
# otherwise: the times take room too.
_MAX_BYTES: Final = 32 * 1024 * 1024
# No stream lasts a day, and a time beyond that is a slip of the pen.
_MAX_MS: Final = 86_400_000.0

_decoder = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


def read(path: Path, name: str | None = None) -> list[Line]:
    """The lines of the tape at `path`; `ConfigurationError` when it is none.

    The error calls it `name`, by default its path.
    """
    name = str(path) if name is None else name
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigurationError(f"{name} is too long for a tape: more than 32 MiB")
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error.strerror}") from error
    return parse(data, name)


def parse(data: bytes, name: str) -> list[Line]:
    """The lines of a tape's text; `ConfigurationError` that calls it `name` when it is none."""
    lines: list[Line] = []
    for number, text in _numbered(data):
        try:
            line = _decoder.decode(text)
            _check(line, lines)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{name} is not a tape: line {number}: {error}") from error
        lines.append(line)
    if not lines or not isinstance(lines[-1][1], (StreamEnd, StreamError)):
        raise ConfigurationError(f"{name} is not a tape: its last line is not a terminal event")
    return lines


def text(at: float, event: Event) -> bytes:
    """A line of a tape, its end included: `event`, `at` milliseconds after the request."""
    return _encoder.encode((at, event)) + b"\n"


def _numbered(data: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield number, line


def _check(line: Line, before: list[Line]) -> None:
    at, event = line
    earliest = before[-1][0] if before else 0.0
    if not earliest <= at <= _MAX_MS:
        raise ValueError(f"its time must be from {earliest:g} to {_MAX_MS:.0f} ms, not {at:g}")
    if before and isinstance(before[-1][1], (StreamEnd, StreamError)):
        raise ValueError("nothing follows the terminal event")
    if isinstance(event, Unknown):
        raise ValueError("event-unknown stands for an event; it is none")  # noqa: TRY004
    if before and isinstance(event, StreamStart):
        raise ValueError("stream-start can only be the first event")
    if isinstance(event, StreamError) and event.code not in STATUS:
        raise ValueError(f"there is no error {event.code[:50]!r}; use one of {', '.join(STATUS)}")
