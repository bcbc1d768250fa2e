"""A source whose text is changed on its way to the log."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.events import Event, TextDelta, Usage
from headwater.observe import Try
from headwater.providers.base import Outcome, Receiver, Source
from headwater.transforms import Transform


class Transformed:
    """Passes on what `source` pushes; text goes through `transform`, in order with the rest."""

    __slots__ = ("_receiver", "_source", "_transform")

    def __init__(self, source: Source, transform: Transform) -> None:
        self._source = source
        self._transform = transform
        self._receiver: Receiver | None = None

    @property
    def attempts(self) -> int:
        return self._source.attempts

    @property
    def route(self) -> str | None:
        return self._source.route

    @property
    def tries(self) -> Sequence[Try]:
        return self._source.tries

    @property
    def connected_at(self) -> float | None:
        return self._source.connected_at

    @property
    def usage(self) -> Usage | None:
        return self._source.usage

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._source.start(self)

    def cancel(self) -> None:
        self._receiver = None
        self._source.cancel()

    # headwater.providers.base.Receiver

    def events(self, events: Sequence[Event]) -> None:
        changed = self._changed(events)
        if self._receiver is None:
            return
        if changed:
            self._receiver.events(changed)
        else:  # all of it is held
            self._receiver.alive(True)

    def alive(self, data: bool) -> None:
        if self._receiver is not None:
            self._receiver.alive(data)

    def end(self, outcome: Outcome, events: Sequence[Event] = ()) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            # What is held of an answer that broke off was said all the same.
            receiver.end(outcome, [*self._changed(events), *self._held()])

    def _changed(self, events: Sequence[Event]) -> list[Event]:
        changed: list[Event] = []
        for event in events:
            if isinstance(event, TextDelta):
                changed += _piece(self._transform.feed(event.text))
            else:
                changed += (*self._held(), event)
        return changed

    def _held(self) -> list[Event]:
        return _piece(self._transform.rest())


def _piece(text: str) -> list[Event]:
    return [TextDelta(text)] if text else []
