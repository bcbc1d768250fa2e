"""One playing of a tape."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headwater.errors import UpstreamError
from headwater.events import Event, StreamEnd, StreamError, StreamStart, Usage
from headwater.observe import Try
from headwater.providers.base import Finish, Outcome, Receiver
from headwater.providers.tape.file import Line
from headwater.providers.tape.playing import Playing


class TapeSource:
    """Pushes `lines` at their times, each read of the recording as one read.

    The lines are shared by all playings; one holds a place in them and a timer. `name` is who
    failed, in errors.
    """

    __slots__ = (
        "_began",
        "_left",
        "_lines",
        "_loop",
        "_name",
        "_next",
        "_playing",
        "_receiver",
        "_timer",
        "attempts",
        "connected_at",
        "route",
        "tries",
        "usage",
    )

    def __init__(
        self, lines: Sequence[Line], playing: Playing | None = None, name: str = "tape"
    ) -> None:
        self._lines = lines
        self._playing = playing or Playing()
        self._name = name
        self._left = self._playing.after
        self._next = 0
        self._timer: asyncio.Handle | None = None
        self._receiver: Receiver | None = None
        self.attempts = 1
        self.tries: Sequence[Try] = ()
        self.connected_at: float | None = None
        self.route: str | None = None
        self.usage: Usage | None = None

    def start(self, receiver: Receiver) -> None:
        """Begin; the first line is due at its time from now."""
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._receiver = receiver
        if self._left == 0:
            self._timer = self._loop.call_soon(self._say, [], self._playing.failure(self._name))
        else:
            self._wait()

    def hand_over(self, receiver: Receiver) -> None:
        """Push to `receiver` from now on."""
        self._receiver = receiver

    def cancel(self) -> None:
        """Stop; the receiver hears nothing more."""
        self._receiver = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        at = self._began + self._lines[self._next][0] / 1000 / self._playing.speed
        self._timer = self._loop.call_at(at, self._play)

    def _play(self) -> None:
        """Everything with one time is what one read brought."""
        now = self._lines[self._next][0]
        events: list[Event] = []
        end: Outcome | None = None
        while end is None and self._lines[self._next][0] == now and len(events) < self._left:
            event = self._lines[self._next][1]
            self._next += 1
            if isinstance(event, (StreamEnd, StreamError)):
                end = self._outcome(event)
            elif not isinstance(event, StreamStart):
                events.append(event)
        self._left -= len(events)
        faulty = self._playing.fault is not None and (end is not None or self._left == 0)
        if faulty:
            end = self._playing.failure(self._name)
        self._say(events, end)
        if self._receiver is not None and not faulty:  # it may have left meanwhile
            self._wait()

    def _say(self, events: list[Event], end: Outcome | None) -> None:
        self._timer = None
        receiver = self._receiver
        if receiver is None:
            return
        if end is not None:
            self._receiver = None
            receiver.end(end, events)
        elif events:
            receiver.events(events)

    def _outcome(self, event: StreamEnd | StreamError) -> Outcome:
        if isinstance(event, StreamEnd):
            return Finish(event.reason, event.usage)
        self.usage = event.usage
        return UpstreamError(event.code, event.message, retryable=event.retryable)
