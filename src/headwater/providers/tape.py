"""A tape: a recorded response with its timings, played as if a provider sent it.

A tape is a text file of JSON lines, `[milliseconds, event]`, times from the request; the last line
is the terminal event. Anything recorded can be played without a key, a network or a model.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from headwater.errors import ConfigurationError, RequestError, UpstreamError
from headwater.events import Event, StreamEnd, StreamError, StreamStart, Usage
from headwater.generation import GenerationRequest, Said
from headwater.providers.base import Finish, Outcome, Receiver

Line = tuple[float, Event]

_decode = msgspec.json.Decoder(Line).decode_lines


def read(path: Path) -> list[Line]:
    """The lines of a tape; `ConfigurationError` when the file is not one."""
    try:
        lines = _decode(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{path} is not a tape: {error}") from error
    if not lines or not isinstance(lines[-1][1], (StreamEnd, StreamError)):
        raise ConfigurationError(f"{path} is not a tape: its last line is not a terminal event")
    return lines


class TapeProvider:
    """Plays one tape for every request; `speed` 2 is twice as fast."""

    name = "tape"
    continues = False

    def __init__(self, lines: list[Line], *, speed: float = 1.0) -> None:
        self._lines = lines
        self._speed = speed

    def source(
        self, request: GenerationRequest, model: str, said: Said | None = None
    ) -> TapeSource:
        if said is not None:
            raise RequestError("A tape cannot go on from a given text.")
        return TapeSource(self._lines, self._speed)

    async def aclose(self) -> None:
        """Nothing is held."""


class TapeSource:
    """One playing of a tape."""

    attempts = 1
    route: str | None = None
    connected_at: float | None = None
    usage: Usage | None = None

    def __init__(self, lines: list[Line], speed: float) -> None:
        self._lines = lines
        self._speed = speed
        self._next = 0
        self._timer: asyncio.TimerHandle | None = None
        self._began = 0.0
        self._receiver: Receiver | None = None

    def start(self, receiver: Receiver) -> None:
        self._began = asyncio.get_running_loop().time()
        self._receiver = receiver
        self._wait()

    def hand_over(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def cancel(self) -> None:
        self._receiver = None
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self) -> None:
        at = self._began + self._lines[self._next][0] / 1000 / self._speed
        self._timer = asyncio.get_running_loop().call_at(at, self._play)

    def _play(self) -> None:
        """Everything with one time is what one read brought."""
        now = self._lines[self._next][0]
        events: list[Event] = []
        end: Outcome | None = None
        while self._next < len(self._lines) and self._lines[self._next][0] == now:
            event = self._lines[self._next][1]
            self._next += 1
            if isinstance(event, StreamEnd):
                end = Finish(event.reason, event.usage)
            elif isinstance(event, StreamError):
                end = UpstreamError(event.code, event.message, retryable=event.retryable)
            elif not isinstance(event, StreamStart):
                events.append(event)
        if self._receiver is not None and end is not None:
            receiver, self._receiver = self._receiver, None
            receiver.end(end, events)
            return
        if self._receiver is not None and events:
            self._receiver.events(events)
        if self._receiver is not None:  # it may have left meanwhile
            self._wait()
